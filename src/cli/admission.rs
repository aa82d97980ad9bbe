//! Options of serve: admission tokens and rate limits.

use clap::Args;

/// See the module's header.
#[derive(Args, Default)]
#[command(next_line_help = true)]
pub struct AdmissionOptions {
    /// Require a token signed by a key in this file from buyers [default: none]
    ///
    /// A JSON Web Key Set with HS256 or EdDSA keys, such as `stampede token new-key` creates. A
    /// purchase carries a JSON Web Token as `Authorization: Bearer TOKEN`. The token names the
    /// user, the sales and the expiry. A purchase without a token gets 401. SIGHUP reads the file
    /// again.
    #[arg(long, value_name = "FILE", help_heading = "Admission")]
    pub admission_keys: Option<String>,

    /// Require this `aud` in those tokens [default: stampede]
    #[arg(long, value_name = "NAME", help_heading = "Admission")]
    pub admission_audience: Option<String>,

    /// Maximum purchases per second per user, or off [default: off]
    ///
    /// N per second, and BURST at once (BURST is N if not given), each 1 to 10000, over all cores
    /// of this server. Above it, the user gets 429 `rate_limited`. Without --admission-keys or
    /// --trusted-proxies, users name themselves, and a new name is a new user.
    #[arg(
        long,
        value_name = "N[/BURST]",
        allow_negative_numbers = true,
        help_heading = "Admission"
    )]
    pub rate_per_user: Option<String>,

    /// Maximum purchases per second per client address, or off [default: off]
    ///
    /// N and BURST as for --rate-per-user. An IPv6 address counts together with its /64 network.
    /// Behind trusted proxies, the address is the client's as the proxies report it. Requests
    /// without a reported address, and the shop with its token, are not limited. A whole office or
    /// mobile network may share one address.
    #[arg(
        long,
        value_name = "N[/BURST]",
        allow_negative_numbers = true,
        help_heading = "Admission"
    )]
    pub rate_per_address: Option<String>,
}
