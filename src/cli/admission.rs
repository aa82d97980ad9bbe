//! The options of serve that say who may buy, and how often.

use clap::Args;

/// See the module's header.
#[derive(Args, Default)]
#[command(next_line_help = true)]
pub struct AdmissionOptions {
    /// Who buys shows a token that one of the keys in this file has signed [default: none]
    ///
    /// A JSON Web Key Set of the shop's keys, HS256 or EdDSA, such as `stampede token new-key` makes. A
    /// purchase carries a JSON Web Token as `Authorization: Bearer`, which says who buys, from which
    /// sales and until when; without one, the answer is 401. Read again on SIGHUP.
    #[arg(long, value_name = "FILE", help_heading = "Admission")]
    pub admission_keys: Option<String>,

    /// Who we are in the `aud` of those tokens [default: stampede]
    #[arg(long, value_name = "NAME", help_heading = "Admission")]
    pub admission_audience: Option<String>,

    /// Most purchases per second of one user, or off [default: off]
    ///
    /// N per second and BURST at once (N if not given), each 1 to 10000, over all cores of this server.
    /// Beyond it the answer is 429 `rate_limited`. Without admission or trusted proxies users name
    /// themselves, and a new name is a new user.
    #[arg(
        long,
        value_name = "N[/BURST]",
        allow_negative_numbers = true,
        help_heading = "Admission"
    )]
    pub rate_per_user: Option<String>,

    /// Most purchases per second from one address, or off [default: off]
    ///
    /// As for users. An IPv6 address counts together with all of its /64 network. Behind trusted
    /// proxies the address is the client's, as they say it; what has none is not limited, nor is the
    /// shop with its token. A whole office, or a mobile network, may share one address.
    #[arg(
        long,
        value_name = "N[/BURST]",
        allow_negative_numbers = true,
        help_heading = "Admission"
    )]
    pub rate_per_address: Option<String>,
}
