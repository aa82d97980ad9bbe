//! Options of serve: the shop, browsers, and the header of proxies.

use clap::Args;

/// See the module's header.
#[derive(Args, Default)]
#[command(next_line_help = true)]
pub struct CallerOptions {
    /// Accept the token in this file as the shop's back end, at both ports [default: none]
    ///
    /// The shop shows, confirms, cancels and refunds reservations of every buyer, and reads sales.
    /// At the control port it can do nothing else. One line as for --control-token-file. To rotate
    /// the token, repeat the option: add the new file, switch the shop over, remove the old file,
    /// with a SIGHUP after each step.
    #[arg(long, value_name = "FILE", help_heading = "Callers")]
    pub shop_token_file: Vec<String>,

    /// Let web pages of these origins read responses of the public port [default: none]
    ///
    /// An origin is scheme, host and port, as in `https://shop.example`. `*` is every page. Without
    /// this option, a browser shows responses only to pages of the port's own origin, and does not
    /// send a POST from other pages.
    #[arg(long, value_name = "ORIGIN,...", help_heading = "Callers")]
    pub cors_origins: Vec<String>,

    /// Let buyers confirm reservations at the public port, or `off` [default: off]
    ///
    /// Confirming marks a reservation as paid. By default only the shop with its token and the
    /// control port can confirm; other clients get 403 `confirm_not_public`. With this option every
    /// buyer can mark a reservation as paid. Use it for demonstrations and benchmarks only.
    #[arg(
        long,
        value_name = "on|off",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "on",
        help_heading = "Callers"
    )]
    pub public_confirm: Option<String>,

    /// Header in which trusted proxies report the client address [default: x-forwarded-for]
    ///
    /// `x-forwarded-for` or `forwarded` (RFC 7239). The last address in the header that is not a
    /// trusted proxy counts. The other header is ignored, because a proxy that does not set it
    /// passes on what the client sent.
    #[arg(long, value_name = "HEADER", help_heading = "Callers")]
    pub forwarded_header: Option<String>,
}
