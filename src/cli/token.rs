//! The options of `stampede token`.

use clap::{Args, Subcommand};

/// `stampede token …`
#[derive(Args)]
#[command(
    after_long_help = AFTER_LONG_HELP,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct TokenCommand {
    #[command(subcommand)]
    pub(super) keys: Option<TokenAction>,
    #[command(flatten)]
    pub(super) options: TokenOptions,
}

/// Commands for the keys of tokens.
#[derive(Subcommand)]
pub enum TokenAction {
    /// Add a new key to a key file, and print the name of the key
    ///
    /// Creates the file if it is missing, readable by its owner only. A server reads the file at
    /// startup and on SIGHUP.
    NewKey {
        /// The file: a JSON Web Key Set
        #[arg(long, value_name = "FILE")]
        keys: String,
        /// Name of the key [default: k- and 8 random hexadecimal digits]
        #[arg(long, value_name = "KID")]
        kid: Option<String>,
        /// Algorithm: HS256, with a secret that shop and server share, or EdDSA, with a private key
        /// that only the shop has
        #[arg(long, value_name = "ALG", default_value = "HS256")]
        alg: String,
    },
    /// Print a key file for a server: without the private parts of EdDSA keys
    ///
    /// HS256 secrets stay, because the server needs them.
    PublicKeys {
        /// The file: a JSON Web Key Set
        #[arg(long, value_name = "FILE")]
        keys: String,
    },
}

/// The content of a token, as text.
#[derive(Args, Default)]
pub struct TokenOptions {
    /// Sign with a key of this file, a JSON Web Key Set
    #[arg(long, value_name = "FILE", required = true)]
    pub keys: Option<String>,

    /// Sign with the key of this name [default: the last key that can sign]
    #[arg(long, value_name = "KID")]
    pub kid: Option<String>,

    /// Name of the user who may buy
    #[arg(long, value_name = "USER", required = true)]
    pub user: Option<String>,

    /// Allow purchases from this sale (repeatable)
    #[arg(long, value_name = "ID", required = true)]
    pub sale: Vec<String>,

    /// Lifetime of the token from now: 1s to 1d
    #[arg(long, value_name = "TIME", default_value = "10m", allow_negative_numbers = true)]
    pub ttl: String,

    /// Maximum units per reservation [default: that of the sale]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub max: Option<String>,

    /// Audience of the token: the --admission-audience of the server
    #[arg(long, value_name = "NAME", default_value = "stampede")]
    pub audience: String,
}

const AFTER_LONG_HELP: &str = "\
Prints a JSON Web Token for a server with --admission-keys. The holder of the token may buy for the
user from the named sales. A shop creates its own tokens, with any library: see docs/admission.md.

Examples:
  Create a key, start a server that accepts its tokens, and buy:
      stampede token new-key --keys keys.json
      stampede --admission-keys keys.json &
      curl -H \"Authorization: Bearer $(stampede token --keys keys.json --user ann --sale ticket)\" \\
          http://127.0.0.1:3005/buy/ticket
  Keep the private key at the shop, and give the server the public key:
      stampede token new-key --keys shop.json --alg EdDSA
      stampede token public-keys --keys shop.json > server.json

Exit codes:
  0  done
  1  failure: the key file can't be read or written, or no key can sign
  2  usage: an option or a value is wrong";
