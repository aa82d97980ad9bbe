//! The options of serve and check-config.

use clap::Args;

use super::admission::AdmissionOptions;
use super::callers::CallerOptions;
use super::webhooks::WebhookFiles;

/// The options of serve and check-config, as text. The URL of the ledger can hold a password, so
/// there is no `Debug`.
#[derive(Args, Default)]
#[command(next_line_help = true)]
pub struct ServeOptions {
    /// Read settings from this TOML file
    ///
    /// Flags and environment variables take precedence over the file. A name in the file that is
    /// not a setting is an error.
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,

    /// Serve buyers on this address (repeatable) [default: 0.0.0.0:3005]
    ///
    /// HOST:PORT is a TCP address. HOST is an IPv4 address, an IPv6 address in brackets, or a name.
    /// `[::]:3005` accepts IPv4 connections too, unless another address has the port on IPv4. A
    /// name with several addresses listens on each address that this machine has. Port 0 picks a
    /// free port. A socket that systemd passes for the address (LISTEN_FDS) is used.
    ///
    /// unix:PATH is a Unix socket, for a proxy on this machine. Its mode is 0660 less the umask.
    /// The server replaces a socket that a killed server left, and removes its own socket on exit.
    ///
    /// tls:HOST:PORT is a TCP address for clients that speak TLS, with --tls-cert and --tls-key.
    #[arg(long, value_name = "[tls:]HOST:PORT|unix:PATH", help_heading = "Network")]
    pub listen: Vec<String>,

    /// Present the certificate in this PEM file to TLS clients (repeatable, each with a --tls-key)
    ///
    /// Put the intermediate certificates after the certificate, in the same file. With several
    /// certificates, the client's host name (SNI) selects one; the first is the default. SIGHUP
    /// reads the files again: new connections get the new certificates, open connections stay open.
    /// An expired certificate fails the start. A certificate that expires within 14 days is a
    /// warning.
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    pub tls_cert: Vec<String>,

    /// Private key of the certificate, a PEM file without a password (repeatable)
    ///
    /// Give the keys in the order of --tls-cert.
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    pub tls_key: Vec<String>,

    /// Read the keys of TLS session tickets from this file [default: random keys]
    ///
    /// Servers that share these keys accept each other's tickets, so a client that a load balancer
    /// sends to another server resumes its session without a full handshake. 1 to 16 lines, each
    /// printed by `openssl rand -hex 32`. The first key encrypts new tickets, every key decrypts.
    /// SIGHUP reads the file again.
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    pub tls_ticket_keys: Option<String>,

    /// Serve operators on this address, or `off` [default: 127.0.0.1:3006]
    ///
    /// HOST:PORT of the control port: sales and reservations, metrics, /livez and /readyz.
    /// Everybody who reaches the control port can use it, so any address but loopback needs a
    /// token.
    #[arg(long, value_name = "ADDR|off", help_heading = "Control port")]
    pub control: Option<String>,

    /// Require the token in this file from clients of the control port [default: none]
    ///
    /// One line of 16 to 512 visible characters, which clients send as `Authorization: Bearer
    /// TOKEN`. Or set the token itself as STAMPEDE_CONTROL_TOKEN.
    #[arg(long, value_name = "FILE", help_heading = "Control port")]
    pub control_token_file: Option<String>,

    /// Accept the token in this file for read-only access to the control port [default: none]
    ///
    /// For Prometheus and dashboards: the token reads /metrics, sales and instances. It changes
    /// nothing, and reads no reservations, because they name buyers. Needs --control-token-file
    /// with another token. Or set the token itself as STAMPEDE_READ_TOKEN.
    #[arg(long, value_name = "FILE", help_heading = "Control port")]
    pub read_token_file: Option<String>,

    /// Run one worker on each of these processor cores, e.g. 0-3,6 [default: all allowed]
    ///
    /// The default is the affinity mask of the process, which `taskset`, a container's cpuset and
    /// systemd's CPUAffinity set. A CPU quota (cpu.max, CPUQuota=, the limit of a container) lowers
    /// the number of workers to the number of whole cores in the quota.
    #[arg(long, value_name = "LIST", help_heading = "Network")]
    pub cores: Option<String>,

    /// Maximum connections [default: from the open file limit]
    ///
    /// Above it, a new connection gets 503 and is closed. The default is the hard limit on open
    /// files, less a reserve for the server itself.
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Network")]
    pub connections_max: Option<String>,

    /// Maximum connections per client address, or off [default: off]
    ///
    /// Above it, a new connection gets 503 and is closed. A whole office or mobile network may
    /// share one address. An IPv6 address counts together with its /64 network. Even without this
    /// limit no address can keep the others out: when more than 90 % of --connections-max are in
    /// use, new connections replace connections of the address with the most connections.
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Network")]
    pub connections_per_address: Option<String>,

    /// Networks of the proxies in front of stampede, e.g. 10.0.0.0/8 [default: none]
    ///
    /// Limits per address do not apply to connections from a trusted proxy or over a Unix socket.
    /// Only trusted proxies and the shop may name the user: the header X-User-Id from any other
    /// client gets 403 `user_not_trusted`, and so does a user that a buyer puts into the request.
    #[arg(long, value_name = "CIDR,...", help_heading = "Network")]
    pub trusted_proxies: Vec<String>,

    /// Read the client address from the PROXY protocol of trusted proxies, or `off` [default: off]
    ///
    /// Each connection of a trusted proxy must begin with a PROXY header, version 1 or 2, as
    /// `send-proxy-v2` of HAProxy and `proxy_protocol` of nginx's stream module send it. A
    /// connection of a trusted proxy without the header is closed. Other clients may not send the
    /// header.
    #[arg(
        long,
        value_name = "on|off",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "on",
        help_heading = "Network"
    )]
    pub proxy_protocol: Option<String>,

    /// The shop, browsers and proxies.
    #[command(flatten)]
    pub callers: CallerOptions,

    /// Admission and rate limits.
    #[command(flatten)]
    pub admission: AdmissionOptions,

    /// Keep stock and reservations in this ledger [default: embedded:./stampede-data]
    ///
    /// embedded:DIR is a folder on this machine, for one instance.
    ///
    /// A Redis is shared by several instances: redis://user:password@host:6379/0; or
    /// redis-sentinel://user:password@host:26379,host:26379/MASTERNAME/0, which follows the primary
    /// that the Sentinels name (user and password are those of Redis); or
    /// redis-cluster://user:password@host:6379,host:6379, with some nodes of a Cluster. rediss://,
    /// rediss-sentinel:// and rediss-cluster:// use TLS.
    ///
    /// Other users of this machine can read the command line. Set a URL with a password as
    /// STAMPEDE_LEDGER or in the file.
    #[arg(long, value_name = "URL", help_heading = "Ledger")]
    pub ledger: Option<String>,

    /// Trust the certificate authorities in this PEM file for rediss:// [default: the system's]
    #[arg(long, value_name = "FILE", help_heading = "Ledger")]
    pub redis_ca: Option<String>,

    /// Present the certificate in this PEM file to Redis, for rediss:// [default: none]
    ///
    /// Redis requires a client certificate unless its `tls-auth-clients` is no. Put the
    /// intermediate certificates after the certificate, in the same file. Needs --redis-key.
    #[arg(long, value_name = "FILE", help_heading = "Ledger")]
    pub redis_cert: Option<String>,

    /// Private key of --redis-cert, a PEM file without a password [default: none]
    #[arg(long, value_name = "FILE", help_heading = "Ledger")]
    pub redis_key: Option<String>,

    /// Redis key of the hash with a sale's counters [default: {sale}_hash_key]
    ///
    /// Must contain {sale}, which stands for the id of the sale.
    #[arg(long, value_name = "NAME", help_heading = "Ledger")]
    pub redis_counters_key: Option<String>,

    /// Field of the total in that hash [default: {sale}_total_nums]
    #[arg(long, value_name = "NAME", help_heading = "Ledger")]
    pub redis_total_field: Option<String>,

    /// Field of the units sold (held or confirmed) in that hash [default: {sale}_sold_nums]
    #[arg(long, value_name = "NAME", help_heading = "Ledger")]
    pub redis_sold_field: Option<String>,

    /// Acknowledge a purchase only after this many replicas have received it [default: 0]
    ///
    /// 0 to 16. If fewer replicas have it within three quarters of --ledger-timeout, the buyer gets
    /// 503 `unknown`, and repeats the request with the same idempotency key to find out. Together
    /// with min-replicas-to-write of Redis, a failover then loses no acknowledged purchase.
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Ledger")]
    pub redis_wait: Option<String>,

    /// User name at the Sentinels of a redis-sentinel:// ledger [default: their default user]
    ///
    /// Set the password as STAMPEDE_REDIS_SENTINEL_PASSWORD or in the file. Without a password the
    /// server does not log in at the Sentinels.
    #[arg(long, value_name = "NAME", help_heading = "Ledger")]
    pub redis_sentinel_user: Option<String>,

    /// Write an order for each reservation to this database [default: none]
    ///
    /// Only with an embedded ledger; with Redis, run `stampede orders`. sqlite:FILE, or
    /// postgres://user:password@host:5432/database, with ?sslmode=require for TLS.
    /// https://host/path sends each change of a reservation as a webhook instead
    /// (docs/webhooks.md).
    #[arg(long, value_name = "URL", help_heading = "Ledger")]
    pub orders: Option<String>,

    /// The files of webhooks.
    #[command(flatten)]
    pub webhooks: WebhookFiles,

    /// Sell from the restored embedded ledger with this id [default: none]
    ///
    /// After a restore from a backup, the database of orders can be newer than the ledger. The
    /// server then does not start, because it would sell the same units again, and the error names
    /// the id. Settle the orders in question (`stampede audit --orders` lists them), and start once
    /// with this option. The ledger continues under a new id, and writes its orders again.
    #[arg(long, value_name = "ID", help_heading = "Ledger")]
    pub restored_ledger: Option<String>,

    /// Create this sale if it is missing (repeatable) [default: ticket=10000 if embedded]
    ///
    /// ID=TOTAL, then any of these, separated by commas: hold=30s, how long a reservation is held
    /// for payment (5m if not given); limit=1, maximum units per user (0: no limit); quantity=4,
    /// maximum units per reservation (10); min=2, minimum units per reservation (1); opens=TIME and
    /// closes=TIME, such as 2030-01-01T10:00:00+08:00; extend=10m, by how much in total the shop
    /// may extend a hold (5m; 0: not at all); reservations=N, maximum reservations ever made (0: no
    /// maximum; if not given, the sale ends after 1,000,000 returned reservations, or 100 per unit
    /// if that is more); reservations_per_user=N, the same per user (0: no maximum);
    /// types=adult:60+child:50, ticket types and the maximum units of each; splits=4, see --splits.
    ///
    /// An existing sale is never changed.
    #[arg(long, value_name = "ID=TOTAL[,NAME=VALUE...]", help_heading = "Sales")]
    pub sale: Vec<String>,

    /// Split each new sale into this many parts, for several Redis nodes [default: 1]
    ///
    /// 1 to 32, for every --sale without splits=. Use it for a sale that needs more than one Redis
    /// core: the nodes of a Redis Cluster share the load of the parts. A user belongs to one part,
    /// and units move between parts as needed. Buyers see one sale. In a single Redis, parts are
    /// correct but no faster. An existing sale keeps its parts.
    #[arg(long, value_name = "PARTS", allow_negative_numbers = true, help_heading = "Sales")]
    pub splits: Option<String>,

    /// Sell at most this many units of each sale from this instance, or `auto` [default: auto]
    ///
    /// N is the instance's allowance, including its buffer: the instance asks the ledger for at
    /// most N units of each sale. auto sizes the allowance by the free units and tops it up, so
    /// that no purchase is refused while the ledger has stock.
    #[arg(long, value_name = "auto|N", allow_negative_numbers = true, help_heading = "Sales")]
    pub stock: Option<String>,

    /// With --stock auto, allow this much more than the fair share [default: 50%]
    ///
    /// 0% to 1000%. The fair share of a core is the number of free units, divided by the cores of
    /// all instances that share the ledger. With 50%, a third of the instances can die, and the
    /// allowances of the others still cover all free units. A used allowance is topped up with any
    /// value of this option.
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true, help_heading = "Sales")]
    pub stock_buffer: Option<String>,

    /// Name of this instance among those that share a ledger [default: host name and port]
    ///
    /// `stampede instances` and the logs of other instances use this name. Every instance needs its
    /// own. The default is the first address, with the host name in place of 0.0.0.0 or loopback.
    #[arg(long, value_name = "NAME", help_heading = "Ledger")]
    pub instance: Option<String>,

    /// Append a line per purchase attempt to this file [default: none]
    ///
    /// `result:1,localSales:N` for a granted purchase, `result:0,localSales:N` for a rejected one.
    /// N is the number of purchases that this instance has granted. Rotate the file by copy and
    /// truncate. If the disk is too slow, lines are dropped and counted. Purchases never wait for
    /// this file.
    #[arg(long, value_name = "FILE", help_heading = "Logs")]
    pub stat_log: Option<String>,

    /// Log level of standard error [default: info]
    ///
    /// error, warn, info, debug, trace or off; or a filter such as info,stampede::ledger=debug.
    /// Changes by operators are logged at every level but off. Add stampede::audit=off to a filter
    /// to leave them out.
    #[arg(long, value_name = "LEVEL", help_heading = "Logs")]
    pub log: Option<String>,

    /// Log format: text, json or journal [default: text, or journal under systemd]
    ///
    /// text is for people. json is one object per line. journal is for systemd: each line begins
    /// with its priority and has no time. journal is the default where JOURNAL_STREAM says that
    /// standard error is the journal.
    #[arg(long, value_name = "FORMAT", help_heading = "Logs")]
    pub log_format: Option<String>,

    /// On a signal to stop, keep serving for this long first [default: 0s]
    ///
    /// 0s to 5m. During this time /readyz returns 503, and each connection closes after its next
    /// response. New connections are still served. So your load balancer has time to stop sending
    /// traffic, and buyers notice nothing. Set it to more time than the load balancer needs to
    /// notice: 3s for the keepalived and nginx of tuning/.
    #[arg(
        long,
        value_name = "TIME",
        allow_negative_numbers = true,
        help_heading = "Deadlines and bounds"
    )]
    pub drain_delay: Option<String>,

    /// On a signal to stop, finish open requests for at most this long [default: 30s]
    ///
    /// 0s to 1h. A client gets 2s of it to finish sending a request (then 408) or to read its
    /// response, so slow clients do not delay the exit beyond the 10s that container runtimes
    /// allow. A duration is a whole number and a unit: 500ms, 30s, 5m, 2h, 1d.
    #[arg(
        long,
        value_name = "TIME",
        allow_negative_numbers = true,
        help_heading = "Deadlines and bounds"
    )]
    pub drain_timeout: Option<String>,

    /// Close a connection that sends no request for this long [default: 75s]
    ///
    /// 500ms to 1h. The next three timeouts have the same range.
    #[arg(
        long,
        value_name = "TIME",
        allow_negative_numbers = true,
        help_heading = "Deadlines and bounds"
    )]
    pub idle_timeout: Option<String>,

    /// Return 408 if the head of a request is incomplete after this time [default: 10s]
    #[arg(
        long,
        value_name = "TIME",
        allow_negative_numbers = true,
        help_heading = "Deadlines and bounds"
    )]
    pub head_timeout: Option<String>,

    /// Return 408 if the body of a request is incomplete after this time [default: 10s]
    #[arg(
        long,
        value_name = "TIME",
        allow_negative_numbers = true,
        help_heading = "Deadlines and bounds"
    )]
    pub body_timeout: Option<String>,

    /// Close a connection whose client reads no response for this long [default: 10s]
    #[arg(
        long,
        value_name = "TIME",
        allow_negative_numbers = true,
        help_heading = "Deadlines and bounds"
    )]
    pub write_timeout: Option<String>,

    /// Return `unknown` if the ledger has not answered after this time [default: 2s]
    ///
    /// 100ms to 1m. The buyer repeats the request with the same idempotency key to find out whether
    /// the purchase was made.
    #[arg(
        long,
        value_name = "TIME",
        allow_negative_numbers = true,
        help_heading = "Deadlines and bounds"
    )]
    pub ledger_timeout: Option<String>,

    /// Maximum purchases per core waiting for the ledger [default: one per connection]
    ///
    /// 1 to 16777216; each takes half a KiB. Above the maximum, buyers get 503 `busy`. One sale can
    /// use eight ninths of it, which leaves room for purchases of other sales.
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "Deadlines and bounds"
    )]
    pub waiting_max: Option<String>,
}

impl ServeOptions {
    /// The values of a setting on the command line, by its name. Empty if the flag is absent.
    pub fn given(&self, name: &str) -> Vec<&str> {
        let one = match name {
            "listen" => return self.listen.iter().map(String::as_str).collect(),
            "tls-cert" => return self.tls_cert.iter().map(String::as_str).collect(),
            "tls-key" => return self.tls_key.iter().map(String::as_str).collect(),
            "sale" => return self.sale.iter().map(String::as_str).collect(),
            "trusted-proxies" => {
                return self.trusted_proxies.iter().map(String::as_str).collect();
            }
            "config" => &self.config,
            "cors-origins" => {
                return self.callers.cors_origins.iter().map(String::as_str).collect();
            }
            "shop-token-file" => {
                return self.callers.shop_token_file.iter().map(String::as_str).collect();
            }
            "control" => &self.control,
            "control-token-file" => &self.control_token_file,
            "read-token-file" => &self.read_token_file,
            // Never an option: other users of the machine can read the command line.
            "control-token" | "read-token" | "redis-sentinel-password" => &None,
            "public-confirm" => &self.callers.public_confirm,
            "proxy-protocol" => &self.proxy_protocol,
            "forwarded-header" => &self.callers.forwarded_header,
            "admission-keys" => &self.admission.admission_keys,
            "admission-audience" => &self.admission.admission_audience,
            "rate-per-user" => &self.admission.rate_per_user,
            "rate-per-address" => &self.admission.rate_per_address,
            "cores" => &self.cores,
            "tls-ticket-keys" => &self.tls_ticket_keys,
            "connections-max" => &self.connections_max,
            "connections-per-address" => &self.connections_per_address,
            "ledger" => &self.ledger,
            "redis-ca" => &self.redis_ca,
            "redis-cert" => &self.redis_cert,
            "redis-key" => &self.redis_key,
            "redis-counters-key" => &self.redis_counters_key,
            "redis-total-field" => &self.redis_total_field,
            "redis-sold-field" => &self.redis_sold_field,
            "redis-wait" => &self.redis_wait,
            "redis-sentinel-user" => &self.redis_sentinel_user,
            "orders" => &self.orders,
            "webhook-state" => &self.webhooks.webhook_state,
            "webhook-secret-file" => &self.webhooks.webhook_secret_file,
            "webhook-ca" => &self.webhooks.webhook_ca,
            "restored-ledger" => &self.restored_ledger,
            "splits" => &self.splits,
            "stock" => &self.stock,
            "stock-buffer" => &self.stock_buffer,
            "instance" => &self.instance,
            "stat-log" => &self.stat_log,
            "log" => &self.log,
            "log-format" => &self.log_format,
            "drain-delay" => &self.drain_delay,
            "drain-timeout" => &self.drain_timeout,
            "idle-timeout" => &self.idle_timeout,
            "head-timeout" => &self.head_timeout,
            "body-timeout" => &self.body_timeout,
            "write-timeout" => &self.write_timeout,
            "ledger-timeout" => &self.ledger_timeout,
            "waiting-max" => &self.waiting_max,
            _ => unreachable!("{name} is not a setting"),
        };
        one.as_deref().into_iter().collect()
    }
}

/// The text after the options in the long help. `man` reads it by its layout: `cli/man.rs`.
pub(super) const AFTER_LONG_HELP: &str = "\
Settings:
  Set an option on the command line, in the environment or in the --config file. The command line
  takes precedence over the environment, the environment over the file, and the file over the
  default. A list is replaced as a whole, never merged.

Environment:
  STAMPEDE_ and the name of the option, as in STAMPEDE_LISTEN or STAMPEDE_IDLE_TIMEOUT. Separate
  addresses by commas, and sales by semicolons:
      STAMPEDE_LISTEN='0.0.0.0:3005,[::1]:3007'
      STAMPEDE_SALE='ticket=10000,hold=30s;poster=500'

Files:
  The --config file is TOML, with the names of the options:
      listen = [\"0.0.0.0:3005\"]
      ledger = \"redis://127.0.0.1:6379\"
      idle-timeout = \"75s\"

      [[sale]]
      id = \"ticket\"
      total = 10000
      hold = \"30s\"
      opens = 2030-01-01T10:00:00+08:00

Signals:
  SIGTERM, SIGINT   Drain: accept no new connection, answer open requests, exit (--drain-delay,
                    --drain-timeout). The second signal exits within 1s, the third at once.
  SIGHUP            Read the --config file and the files that settings name again. These
                    settings apply at once: connections-max, connections-per-address,
                    trusted-proxies, proxy-protocol, cors-origins, admission keys, rate limits,
                    timeouts, waiting-max, log, tokens, TLS files. The log names the settings that
                    need a restart. If anything is wrong, nothing changes.
  SIGUSR2           Start the program again from the same path, for an upgrade, and pass the
                    listening sockets to it. No buyer is refused. Old connections close after their
                    next response. With an embedded ledger, purchases wait until the new process
                    has opened it. If the new process can't sell, the old one continues.
  SIGQUIT, SIGUSR1  Logged and ignored: there is no log file to open again.
  SIGABRT           Exit at once, with a core dump if the system writes one.

Log:
  The log goes to standard error. If standard error blocks or fails, the server continues to sell,
  drops log lines, and logs their number when standard error works again.

Examples:
  Sell 10000 tickets from a folder on this machine, with all defaults:
      stampede
  Sell 500 posters, one per user, to be paid within ten minutes:
      stampede --sale poster=500,limit=1,hold=10m
  Run one of several instances that share a Redis, on four cores:
      stampede --cores 0-3 --ledger redis://10.0.0.5:6379 --sale ticket=10000
  Show every setting and its source:
      stampede check-config --config /etc/stampede/stampede.toml

Exit codes:
  0  success, including a drain after a signal
  1  failure: the server could not start or continue
  2  usage: an option or a setting is wrong; the message names it and the right form";
