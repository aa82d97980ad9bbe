//! The options of serve that say who asks, and whom to believe.

use clap::Args;

/// See the module's header.
#[derive(Args, Default)]
#[command(next_line_help = true)]
pub struct CallerOptions {
    /// Who shows the token in this file is the shop's back end, at either port [default: none]
    ///
    /// It settles reservations of every buyer: shows, confirms, cancels and refunds them, and looks at
    /// sales. At the control port it may do nothing else. One line as for --control-token-file. Several
    /// files, one option each, are several tokens of the same shop: add the new one, let the shop
    /// change, and take the old one away, each with a SIGHUP.
    #[arg(long, value_name = "FILE", help_heading = "Callers")]
    pub shop_token_file: Vec<String>,

    /// Web pages that may read answers of the public port, by origin [default: none]
    ///
    /// An origin is scheme, host and port, as in `https://shop.example`; `*` is every page. Without, a
    /// browser lets no page but the port's own read answers, and sends nothing that it must ask for
    /// first, such as a purchase by POST.
    #[arg(long, value_name = "ORIGIN,...", help_heading = "Callers")]
    pub cors_origins: Vec<String>,

    /// Let buyers confirm reservations at the public port, or `off` [default: off]
    ///
    /// To confirm says that the reservation is paid, so by default only the shop can, with its token or
    /// at the control port; everybody else is answered 403 `confirm_not_public`. With this every buyer
    /// can mark his own reservation as paid: for demonstrations and benchmarks.
    #[arg(
        long,
        value_name = "on|off",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "on",
        help_heading = "Callers"
    )]
    pub public_confirm: Option<String>,

    /// Where the trusted proxies say whose a request is [default: x-forwarded-for]
    ///
    /// `x-forwarded-for` or `forwarded` (RFC 7239). Of its list the last address counts that is no
    /// trusted proxy. The other header is never read, since a proxy that does not set it passes on
    /// what a client has written there.
    #[arg(long, value_name = "HEADER", help_heading = "Callers")]
    pub forwarded_header: Option<String>,
}
