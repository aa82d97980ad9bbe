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

/// What else to do about tokens.
#[derive(Subcommand)]
pub enum TokenAction {
    /// Add a new key to a file of keys, which is made (0600) if it is missing
    ///
    /// Prints the name of the key. The server that is to take its tokens reads the file at its start
    /// and on SIGHUP.
    NewKey {
        /// The file: a JSON Web Key Set
        #[arg(long, value_name = "FILE")]
        keys: String,
        /// The name of the key [default: k- and 8 random digits]
        #[arg(long, value_name = "KID")]
        kid: Option<String>,
        /// How it signs: HS256, a secret that shop and server share, or EdDSA, whose private part
        /// stays with the shop
        #[arg(long, value_name = "ALG", default_value = "HS256")]
        alg: String,
    },
    /// Print a file of keys without the private parts of EdDSA keys, for a server
    PublicKeys {
        /// The file: a JSON Web Key Set
        #[arg(long, value_name = "FILE")]
        keys: String,
    },
}

/// What a token is to say, unjudged.
#[derive(Args, Default)]
pub struct TokenOptions {
    /// Sign with a key from this file: a JSON Web Key Set
    #[arg(long, value_name = "FILE", required = true)]
    pub keys: Option<String>,

    /// Sign with the key of this name [default: the last one that can sign]
    #[arg(long, value_name = "KID")]
    pub kid: Option<String>,

    /// Who buys
    #[arg(long, value_name = "USER", required = true)]
    pub user: Option<String>,

    /// A sale that the user may buy from (repeatable)
    #[arg(long, value_name = "ID", required = true)]
    pub sale: Vec<String>,

    /// How long it is good from now on: 1s to 1d
    #[arg(long, value_name = "TIME", default_value = "10m", allow_negative_numbers = true)]
    pub ttl: String,

    /// The most units of one reservation [default: what the sale allows]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub max: Option<String>,

    /// Who takes it: the server's --admission-audience
    #[arg(long, value_name = "NAME", default_value = "stampede")]
    pub audience: String,
}

const AFTER_LONG_HELP: &str = "\
Prints a JSON Web Token, with which its holder may buy for the user from the sales that it names, at a
server with --admission-keys. A shop mints its own, with any library: docs/admission.md.

Examples:
  A key, a server that takes its tokens, and a purchase:
      stampede token new-key --keys keys.json
      stampede --admission-keys keys.json &
      curl -H \"Authorization: Bearer $(stampede token --keys keys.json --user ann --sale ticket)\" \\
          http://127.0.0.1:3005/buy/ticket
  The private key with the shop, and the public one with the server:
      stampede token new-key --keys shop.json --alg EdDSA
      stampede token public-keys --keys shop.json > server.json";
