//! The options of serve and check-config.

use clap::Args;

use super::admission::AdmissionOptions;
use super::callers::CallerOptions;
use super::webhooks::WebhookFiles;

/// The options of serve and check-config, unjudged. It can hold a password (in the ledger's URL),
/// so there is no `Debug`.
#[derive(Args, Default)]
#[command(next_line_help = true)]
pub struct ServeOptions {
    /// Read settings from this TOML file
    ///
    /// Flags and the environment take precedence over it. A name in it that is not a setting is
    /// an error.
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,

    /// Serve buyers on this address (repeatable) [default: 0.0.0.0:3005]
    ///
    /// HOST:PORT, where HOST is an IPv4 address, an IPv6 address in brackets (`[::]:3005`, which
    /// takes IPv4 as well unless another setting has the port there) or a name; a name with several
    /// addresses listens on each that this machine has. A socket that systemd has bound there
    /// (LISTEN_FDS) is taken over. Port 0 takes
    /// a free one. Or unix:PATH, the file of a Unix socket, for a proxy on this machine: its mode
    /// is 0660 less the umask, one that a killed server left is taken over, and it is removed in
    /// the end. Or tls:HOST:PORT, for clients that speak TLS, with --tls-cert and --tls-key.
    #[arg(long, value_name = "[tls:]HOST:PORT|unix:PATH", help_heading = "Network")]
    pub listen: Vec<String>,

    /// Show TLS clients the certificate in this PEM file (repeatable, each with a --tls-key)
    ///
    /// The certificates that lead from it to an authority follow it in the file. Of several, a client
    /// is shown the one for the host that it names (SNI), or else the first. On SIGHUP the files are
    /// read again: new connections are shown the new certificates, and none is closed. A certificate
    /// that has expired ends the start; one that expires within 14 days is a warning.
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    pub tls_cert: Vec<String>,

    /// The private key of that certificate, a PEM file without a password (repeatable)
    ///
    /// In the order of --tls-cert.
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    pub tls_key: Vec<String>,

    /// Keys of the tickets with which TLS clients resume [default: keys of this server's own]
    ///
    /// Servers that share the keys take each other's tickets, so a client whom a balancer sends to
    /// another server needs no full handshake. 1 to 16 lines, each as `openssl rand -hex 32` prints
    /// it: the first key seals, all of them open. Read again on SIGHUP.
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    pub tls_ticket_keys: Option<String>,

    /// Serve operators on this address, or `off` [default: 127.0.0.1:3006]
    ///
    /// HOST:PORT of the control port: sales and reservations, /livez and /readyz. Everybody who
    /// reaches it can use it, so unless it is a loopback address it needs a token.
    #[arg(long, value_name = "ADDR|off", help_heading = "Control port")]
    pub control: Option<String>,

    /// Clients of the control port must show the token in this file [default: none]
    ///
    /// One line of 16 to 512 visible characters, shown as `Authorization: Bearer TOKEN`. The token
    /// itself can stand in the environment, as STAMPEDE_CONTROL_TOKEN.
    #[arg(long, value_name = "FILE", help_heading = "Control port")]
    pub control_token_file: Option<String>,

    /// Who shows the token in this file may look, and change nothing [default: none]
    ///
    /// For Prometheus and dashboards: /metrics, sales and instances, but no reservations, which name
    /// buyers. One line as for --control-token-file, beside which it stands, with another token. The
    /// token itself can stand in the environment, as STAMPEDE_READ_TOKEN.
    #[arg(long, value_name = "FILE", help_heading = "Control port")]
    pub read_token_file: Option<String>,

    /// Run one worker on each of these processor cores, e.g. 0-3,6 [default: all it may use]
    ///
    /// The default is the affinity mask that the process was started with, so `taskset`, a
    /// container's cpuset and systemd's CPUAffinity are kept to; and of these only as many as the CPU
    /// quota of its control group pays for (cpu.max, CPUQuota=, a container's limit), rounded down.
    #[arg(long, value_name = "LIST", help_heading = "Network")]
    pub cores: Option<String>,

    /// Most connections at a time [default: from the file limit]
    ///
    /// Beyond it a new connection is answered with 503 and closed. The default is the hard limit
    /// on open files, less a reserve for the server itself.
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Network")]
    pub connections_max: Option<String>,

    /// Most connections that one address has at a time, or off [default: off]
    ///
    /// Beyond it a new connection is answered with 503 and closed. A whole office, or a mobile
    /// network, may share one address. Without a limit, too, no address can keep the others out: when
    /// more than 90 % of the places are taken, the address that has most of them gives way. An IPv6
    /// address counts together with all of its /64 network.
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Network")]
    pub connections_per_address: Option<String>,

    /// The networks of the proxies in front, e.g. 10.0.0.0/8,192.168.1.5 [default: none]
    ///
    /// Behind a proxy there is a crowd: its connections never give way, and no limit by address holds
    /// for them. The same is true of whatever comes over a Unix socket. Only these proxies, and the
    /// shop, may say which user buys: X-User-Id of anybody else, and a user that a buyer names himself,
    /// are 403 `user_not_trusted`.
    #[arg(long, value_name = "CIDR,...", help_heading = "Network")]
    pub trusted_proxies: Vec<String>,

    /// The trusted proxies say whose a connection is, or `off` [default: off]
    ///
    /// Each of their connections begins with a header of the PROXY protocol, version 1 or 2, as
    /// HAProxy's `send-proxy-v2` (2) and the `proxy_protocol` of nginx's stream module (1) send it; one
    /// without is closed. The connection then counts with its client's address. From others no header
    /// is taken.
    #[arg(
        long,
        value_name = "on|off",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "on",
        help_heading = "Network"
    )]
    pub proxy_protocol: Option<String>,

    /// Who asks, and whom to believe.
    #[command(flatten)]
    pub callers: CallerOptions,

    /// Who may buy, and how often.
    #[command(flatten)]
    pub admission: AdmissionOptions,

    /// Where stock and reservations are kept [default: embedded:./stampede-data]
    ///
    /// embedded:DIR keeps them in a folder of this machine, for one instance. A Redis shares them
    /// between instances: redis://user:password@host:6379/0;
    /// redis-sentinel://user:password@host:26379,host:26379/MASTERNAME/0, which follows the primary
    /// that the Sentinels name (user and password are Redis' own); or
    /// redis-cluster://user:password@host:6379,host:6379, some of a Cluster's nodes. With rediss://
    /// and so on it is TLS. To keep a password from other users of the machine, who can see the
    /// command line, set it by the environment or the file.
    #[arg(long, value_name = "URL", help_heading = "Ledger")]
    pub ledger: Option<String>,

    /// Trust the certificate authorities in this PEM file for rediss:// [default: the system's]
    #[arg(long, value_name = "FILE", help_heading = "Ledger")]
    pub redis_ca: Option<String>,

    /// Show Redis the certificate in this PEM file, for rediss:// [default: none]
    ///
    /// Redis with TLS wants one unless it has `tls-auth-clients no`. The certificates that lead from
    /// it to an authority follow it in the file. With --redis-key.
    #[arg(long, value_name = "FILE", help_heading = "Ledger")]
    pub redis_cert: Option<String>,

    /// The private key of that certificate, a PEM file without a password [default: none]
    #[arg(long, value_name = "FILE", help_heading = "Ledger")]
    pub redis_key: Option<String>,

    /// Key of the hash with a sale's counters in Redis [default: {sale}_hash_key]
    ///
    /// {sale} stands for the sale's id, and must occur.
    #[arg(long, value_name = "NAME", help_heading = "Ledger")]
    pub redis_counters_key: Option<String>,

    /// Field of that hash with the sale's total [default: {sale}_total_nums]
    #[arg(long, value_name = "NAME", help_heading = "Ledger")]
    pub redis_total_field: Option<String>,

    /// Field of that hash with the number sold, held or confirmed [default: {sale}_sold_nums]
    #[arg(long, value_name = "NAME", help_heading = "Ledger")]
    pub redis_sold_field: Option<String>,

    /// Acknowledge only what so many replicas have received too [default: 0]
    ///
    /// 0 to 16. What fewer have within three quarters of --ledger-timeout is answered with 503
    /// `unknown`, and the same idempotency key finds out. Together with Redis' own
    /// min-replicas-to-write this is what a failover needs to lose nothing acknowledged.
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Ledger")]
    pub redis_wait: Option<String>,

    /// Our user at the Sentinels of a redis-sentinel:// ledger [default: their default user]
    ///
    /// Its password stands in the environment, as STAMPEDE_REDIS_SENTINEL_PASSWORD, or in the file.
    /// Without one we don't log in there.
    #[arg(long, value_name = "NAME", help_heading = "Ledger")]
    pub redis_sentinel_user: Option<String>,

    /// Write an order for each reservation to this database [default: none]
    ///
    /// Only with an embedded ledger; with a Redis, run `stampede orders`. sqlite:FILE, or
    /// postgres://user:password@host:5432/database, with ?sslmode=require for TLS. Or, to
    /// https://host/path, a webhook of each change (docs/webhooks.md).
    #[arg(long, value_name = "URL", help_heading = "Ledger")]
    pub orders: Option<String>,

    /// What webhooks need.
    #[command(flatten)]
    pub webhooks: WebhookFiles,

    /// Sell from the embedded ledger with this id although it is behind its orders [default: none]
    ///
    /// A server whose database has orders of sales that its ledger never made does not start: the
    /// folder was restored from a backup, and the same units would be sold again. The refusal names
    /// the id. Settle those orders first (stampede audit --orders names them). The ledger then goes
    /// on under another id, so that this is good for one start, and its orders are written anew.
    #[arg(long, value_name = "ID", help_heading = "Ledger")]
    pub restored_ledger: Option<String>,

    /// Create this sale if it is missing (repeatable) [default: ticket=10000 if embedded]
    ///
    /// ID=TOTAL, and as needed: hold=30s, how long a reservation is held for payment (5m if not
    /// given); limit=1, units that one user may have (0, no limit); quantity=4, most units in one
    /// reservation (10); opens= and closes=, times such as 2030-01-01T10:00:00+08:00; splits=4, parts
    /// in which it is kept (see --splits); min=2, fewest units in one reservation (1); extend=10m, how much
    /// longer in all the shop may extend a hold (5m; 0, not at all); reservations=N, most reservations
    /// ever made, whatever becomes of them (0, no bound; if not given, the sale ends when 1,000,000 have come
    /// back, or 100 per unit if that is more); reservations_per_user=N, the same for each user (0, no bound);
    /// types=adult:60+child:50, ticket types and how many units of each may be sold. A sale that exists is
    /// never changed.
    #[arg(
        long,
        value_name = "ID=TOTAL[,hold=30s][,limit=1][,quantity=4][,opens=TIME][,closes=TIME][,splits=4][,min=2][,extend=10m][,reservations=N][,reservations_per_user=N][,types=NAME:CAP+…]",
        help_heading = "Sales"
    )]
    pub sale: Vec<String>,

    /// Keep new sales in this many parts, for one that is too hot for one core of Redis [default: 1]
    ///
    /// For those of --sale that don't say splits=. Each part has keys of its own, and with a Redis
    /// Cluster they are on different nodes; a user belongs to one part, and units move to where they
    /// are wanted. It is one sale to whoever buys or asks. In one Redis it is correct and no faster.
    /// A sale that exists keeps its parts. 1 to 32.
    #[arg(long, value_name = "PARTS", allow_negative_numbers = true, help_heading = "Sales")]
    pub splits: Option<String>,

    /// Sell at most this many from this instance, or `auto` [default: auto]
    ///
    /// N is the instance's local stock, its buffer included: it asks the ledger for no more than
    /// that, of each sale. auto sizes it by what is left and tops it up, so that nothing is
    /// refused while the ledger has stock.
    #[arg(long, value_name = "auto|N", allow_negative_numbers = true, help_heading = "Sales")]
    pub stock: Option<String>,

    /// With --stock auto, ask for this much more than the fair share [default: 50%]
    ///
    /// The fair share of an instance is what is left, divided by the cores of all instances that
    /// share the ledger. With 50% a third of them may die, and the others can still ask for
    /// everything at once. Whatever it is, what is used up is topped up. 0% to 1000%.
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true, help_heading = "Sales")]
    pub stock_buffer: Option<String>,

    /// Name of this instance among those that share a ledger [default: host name and port]
    ///
    /// What `stampede instances` and the logs of the others call it. Give each its own. The default
    /// is the first of its addresses, with the host's name instead of 0.0.0.0 or loopback.
    #[arg(long, value_name = "NAME", help_heading = "Ledger")]
    pub instance: Option<String>,

    /// Append a line for each purchase attempt to this file [default: none]
    ///
    /// `result:1,localSales:N` if it was granted, `result:0,localSales:N` if not; N is what this
    /// instance has granted so far. Rotate it by copy and truncate. If the disk can't keep up,
    /// lines are dropped and counted; purchases never wait for it.
    #[arg(long, value_name = "FILE", help_heading = "Logs")]
    pub stat_log: Option<String>,

    /// How much to log to standard error [default: info]
    ///
    /// error, warn, info, debug, trace or off; or a filter such as info,stampede::ledger=debug. What
    /// operators change is logged at every level but off; stampede::audit=off in a filter leaves that out.
    #[arg(long, value_name = "LEVEL", help_heading = "Logs")]
    pub log: Option<String>,

    /// How to log: text, json or journal [default: text, or journal under systemd]
    ///
    /// text for people; json, one object a line; journal for systemd's: a priority before each line and no
    /// time. journal is the default where JOURNAL_STREAM says that standard error is the journal.
    #[arg(long, value_name = "FORMAT", help_heading = "Logs")]
    pub log_format: Option<String>,

    /// Serve on for this long when told to stop, not ready any more [default: 0s]
    ///
    /// 0s to 5m. Meanwhile /readyz fails, and each connection is closed after its next answer, but
    /// new ones are still served: whatever sends buyers here has time to notice, and none of them
    /// does. Give it more than your balancer needs to take a server out (3s for the keepalived and
    /// nginx of tuning/).
    #[arg(
        long,
        value_name = "TIME",
        allow_negative_numbers = true,
        help_heading = "Deadlines and bounds"
    )]
    pub drain_delay: Option<String>,

    /// Longest time to finish what is under way when told to stop [default: 30s]
    ///
    /// 0s to 1h. Clients have 2s of it to finish a request (then 408) or to take their answers, so
    /// they hold up the end for less than the 10s that a container is given. Durations are a whole number and a unit: 500ms, 30s, 5m, 2h, 1d.
    #[arg(
        long,
        value_name = "TIME",
        allow_negative_numbers = true,
        help_heading = "Deadlines and bounds"
    )]
    pub drain_timeout: Option<String>,

    /// Close a connection that is silent between requests for this long [default: 75s]
    ///
    /// 500ms to 1h, as for the next three.
    #[arg(
        long,
        value_name = "TIME",
        allow_negative_numbers = true,
        help_heading = "Deadlines and bounds"
    )]
    pub idle_timeout: Option<String>,

    /// Answer 408 if a request's head is not there after this time [default: 10s]
    #[arg(
        long,
        value_name = "TIME",
        allow_negative_numbers = true,
        help_heading = "Deadlines and bounds"
    )]
    pub head_timeout: Option<String>,

    /// Answer 408 if a request's body is not there after this time [default: 10s]
    #[arg(
        long,
        value_name = "TIME",
        allow_negative_numbers = true,
        help_heading = "Deadlines and bounds"
    )]
    pub body_timeout: Option<String>,

    /// Close a connection whose client takes no answer for this long [default: 10s]
    #[arg(
        long,
        value_name = "TIME",
        allow_negative_numbers = true,
        help_heading = "Deadlines and bounds"
    )]
    pub write_timeout: Option<String>,

    /// Answer `unknown` if the ledger has not answered after this time [default: 2s]
    ///
    /// 100ms to 1m. Whether the purchase was made, the same idempotency key finds out.
    #[arg(
        long,
        value_name = "TIME",
        allow_negative_numbers = true,
        help_heading = "Deadlines and bounds"
    )]
    pub ledger_timeout: Option<String>,

    /// Requests per core that may wait for the ledger [default: every connection's]
    ///
    /// 1 to 16777216; each takes half a KiB. Beyond it the answer is 503 `busy`. One sale may take
    /// eight ninths of it, so that others can still be bought.
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "Deadlines and bounds"
    )]
    pub waiting_max: Option<String>,
}

impl ServeOptions {
    /// The values given for a setting, by its name; none if the flag isn't there.
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
            // Never an option: others on the machine can read those.
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

/// What stands below the options in the long help.
pub(super) const AFTER_LONG_HELP: &str = "\
Settings:
  Each option can also be set by the environment and by the file of --config. A flag goes before
  the environment, the environment before the file, the file before the default; a list is
  replaced as a whole, never merged.

  Environment: STAMPEDE_ and the option's name, as in STAMPEDE_LISTEN or STAMPEDE_IDLE_TIMEOUT.
  Several addresses are separated by commas, several sales by semicolons:
      STAMPEDE_LISTEN='0.0.0.0:3005,[::1]:3007'
      STAMPEDE_SALE='ticket=10000,hold=30s;poster=500'

  File: TOML, with the options' names:
      listen = [\"0.0.0.0:3005\"]
      ledger = \"redis://127.0.0.1:6379\"
      idle-timeout = \"75s\"

      [[sale]]
      id = \"ticket\"
      total = 10000
      hold = \"30s\"
      opens = 2030-01-01T10:00:00+08:00

Examples:
  Sell 10000 tickets from a folder on this machine, with every default:
      stampede
  Sell 500, one a user, paid within ten minutes:
      stampede --sale poster=500,limit=1,hold=10m
  One of several instances that share a Redis, on four cores:
      stampede --cores 0-3 --ledger redis://10.0.0.5:6379 --sale ticket=10000
  See what would be used, and from where:
      stampede check-config --config /etc/stampede.toml

Signals:
  SIGTERM, SIGINT   drain: no new connection, requests under way are answered (--drain-delay,
                    --drain-timeout); the second one ends within 1s, the third at once
  SIGHUP            reads the file of --config again, and the files that settings name. Taken over are
                    connections-max, connections-per-address, trusted-proxies, proxy-protocol, the keys of
                    admission, the limits of purchases, the timeouts, waiting-max, log, tokens and the
                    files of TLS; the log names what takes a restart. If anything is wrong, nothing
                    changes
  SIGUSR2           starts the program again from the same path, by now perhaps of another build, and
                    gives it the listening sockets; nobody is refused. Old connections end with their
                    next answer. With an embedded ledger purchases wait until the new process has
                    opened it. If the new one can't sell, this one goes on
  SIGQUIT, SIGUSR1  logged and ignored: there is no log file to open again
  SIGABRT           ends at once, with a core dump where the system leaves one

Log:
  To standard error. A log that can't be written stops no sale: lines that standard error does not
  take are dropped, counted, and reported when it takes lines again.

Exit codes:
  0  success, a drain that was asked for included
  1  failure: it could not start or go on
  2  usage: an option or a setting is wrong; the message says which, and what would be right";
