//! The configuration: every setting of an instance, checked, from flags, the environment, a TOML
//! file and the defaults, in that order.
//!
//! [`Config::load`] either gives a configuration that serve can start with or every error it
//! found, each naming the setting as its author wrote it, the value, and what would be right.
//! It looks at the machine (cores, file limit, names, whether files can be opened) and changes
//! nothing. [`OrdersCommand::load`] does the same for `stampede orders`.
//!
//! Architecture invariant: a configuration is data. Nothing here opens a listener, a ledger or a
//! log, and nothing prints.

mod admission;
mod changes;
mod control;
mod cors;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod ledger;
mod listen;
mod orders;
mod proxies;
mod sale;
mod show;
mod source;
mod option_parser;
mod builder;
mod tls;
mod value;
mod webhooks;

use std::path::PathBuf;

use ipnet::IpNet;

use crate::cli::ServeOptions;
use crate::clock::wall_ms;
use crate::ledger::embedded::LedgerId;
use crate::ledger::redis::TlsFiles;
use crate::limiter::Rate;
use crate::limits;
use crate::orders::Destination;
use crate::sale::{SaleId, SaleSpec, Split};
use crate::tls::TlsSetting;

pub use crate::host::{Host, avoid_stalls, raise_file_limit};
pub use crate::logging::LogFormat;
pub use crate::stock::StockSetting;
pub use admission::AdmissionSetting;
pub use control::{CONTROL_DEFAULT, ControlSetting, Token, Tokens};
pub use cors::CorsSetting;
pub use error::ConfigError;
pub use ledger::{
    CounterNames, LedgerSetting, RedisSetting, RedisUrl, SentinelLogin, TlsOptions, redis_setting,
};
pub use listen::{LISTEN_DEFAULT, Listen, local_address};
pub use orders::{
    LedgerAction, ORDERS_GROUP_DEFAULT, OrdersAction, OrdersCommand, OrdersWork, WebhooksWork,
};
pub use proxies::ForwardedHeader;
pub use sale::{
    doubts as sale_doubts, lines as parse_lines, parse as parse_sale, parse_time,
    splits as parse_splits,
};
pub use source::{Changes, GivenValues, SETTINGS, Setting, Source, closest, without_newline};
pub use value::{duration_within, whole_number};
pub use webhooks::DeadLettersAction;

use builder::ConfigBuilder;
use source::Layers;

/// Why a sale of an embedded ledger is not split.
const SPLITS_NEED_REDIS: &str =
    "only a sale in Redis can be split; an embedded ledger has one core to sell from";

/// Default folder of the embedded ledger.
pub const EMBEDDED_DIR_DEFAULT: &str = "./stampede-data";
/// Default sale of an embedded ledger.
pub const SALE_DEFAULT: (&str, u64) = ("ticket", 10_000);

/// Every setting of an instance, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file that was read, if any.
    pub config_file: Option<PathBuf>,
    /// Where buyers connect; at least one, none twice (but for port 0).
    pub listen: Vec<Listen>,
    /// The files of TLS, if an address uses TLS.
    pub tls: Option<TlsSetting>,
    /// The control port, if there is one.
    pub control: Option<ControlSetting>,
    /// The tokens of the shop's back end. None: it has only the control port's.
    pub shop_tokens: Vec<Token>,
    /// The web pages that may read answers of the buyers' port.
    pub cors: CorsSetting,
    /// Whether buyers may confirm their own reservations at the public port.
    pub public_confirm: bool,
    /// The processor cores to run on: at least one, none twice, in the order given.
    pub cores: Vec<usize>,
    /// Connections at a time, at least 1. Assumes that the file limit is raised to its hard limit
    /// ([`raise_file_limit`]).
    pub connections_max: u64,
    /// Connections that one address may have. 0: as many as there are.
    pub connections_per_address: u32,
    /// The networks of proxies in front. Their connections are not counted by address.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether trusted proxies report client addresses by the PROXY protocol.
    pub proxy_protocol: bool,
    /// The header in which trusted proxies report client addresses.
    pub forwarded_header: ForwardedHeader,
    /// Whose tokens admit buyers. `None`: they need none.
    pub admission: Option<AdmissionSetting>,
    /// How often a user may buy, if that is limited.
    pub rate_per_user: Option<Rate>,
    /// How often one may buy from an address, if that is limited.
    pub rate_per_address: Option<Rate>,
    /// The ledger.
    pub ledger: LedgerSetting,
    /// Where the changes of an embedded ledger go, if anywhere: to a database, or as webhooks.
    pub orders: Option<Destination>,
    /// The embedded ledger that sells although it was restored and is behind its orders.
    pub restored_ledger: Option<LedgerId>,
    /// Sales to create if missing. No id twice.
    pub sales: Vec<(SaleId, SaleSpec)>,
    /// Whether a setting names these sales. If not, they are the default.
    pub sales_given: bool,
    /// The number of parts of sales without splits=.
    pub splits: u32,
    /// The instance's allowance of each sale.
    pub stock: StockSetting,
    /// The allowance above the fair share, in percent. Only with [`StockSetting::Auto`].
    pub stock_buffer_percent: u64,
    /// The instance's name among those that share a ledger, if it is set.
    pub instance: Option<String>,
    /// Where to write a line for each purchase attempt.
    pub stat_log: Option<PathBuf>,
    /// The log filter, in the syntax of `tracing`.
    pub log_filter: String,
    /// How to log.
    pub log_format: LogFormat,
    /// Time to serve on after the signal to end, not ready any more, before the drain.
    pub drain_delay_ms: u64,
    /// Longest time for a drain. 0: stop at once.
    pub drain_timeout_ms: u64,
    /// Time a connection may be silent between requests.
    pub idle_timeout_ms: u64,
    /// Time for a whole head.
    pub head_timeout_ms: u64,
    /// Time for a whole body.
    pub body_timeout_ms: u64,
    /// Time a client may refuse to take what is written.
    pub write_timeout_ms: u64,
    /// Time for the ledger's answer.
    pub ledger_timeout_ms: u64,
    /// Requests of one core that may wait for the ledger, at least 1. `None`: every connection may.
    pub waiting_max: Option<usize>,
    /// Warnings: settings that are legal but probably a mistake.
    pub warnings: Vec<String>,
    /// The source of each setting, in the order of [`SETTINGS`].
    pub sources: Vec<(&'static str, Source)>,
    /// The text of each setting.
    pub given: GivenValues,
}

impl Config {
    /// Whether a proxy or a token names the user of a purchase. If not, buyers name themselves.
    pub fn trusts_user_names(&self) -> bool {
        !self.trusted_proxies.is_empty() || self.admission.is_some()
    }

    /// The configuration from these options, the process' environment and the file they name.
    pub fn load(options: &ServeOptions) -> Result<Self, ConfigError> {
        Self::load_from(options, std::env::vars_os(), &Host::of_process())
    }

    /// The configuration from these options, an environment and a machine.
    pub fn load_from(
        options: &ServeOptions,
        environment: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
        host: &Host,
    ) -> Result<Self, ConfigError> {
        let (layers, problems) = Layers::gather(options, environment);
        let mut builder = ConfigBuilder { layers, problems };
        let config = builder.config(host);
        if !builder.problems.is_empty() {
            return Err(ConfigError { problems: builder.problems });
        }
        Ok(config)
    }
}

impl ConfigBuilder {
    fn config(&mut self, host: &Host) -> Config {
        let connection = (limits::CONNECTION_DEADLINE_MS_MIN, limits::CONNECTION_DEADLINE_MS_MAX);
        let ledger_range = (limits::LEDGER_DEADLINE_MS_MIN, limits::LEDGER_DEADLINE_MS_MAX);
        let listen = self.listen();
        let tls = self.tls(&listen);
        let control = self.control(&listen);
        let shop_tokens = self.shop_tokens(control.as_ref());
        let public_confirm = self.public_confirm();
        let cores = self.cores(host);
        let ledger = self.ledger();
        let connections_max = self.connections_max(host, cores.len(), ledger.is_cluster());
        let orders = self.destination(&ledger);
        let restored_ledger = self.restored_ledger(&ledger);
        let split = self.splits(&ledger);
        let (sales, sales_given) = self.sales(&ledger, split);
        let (stock, stock_buffer_percent) = self.stock();
        let waiting_max = self.waiting_max();
        let trusted_proxies = self.trusted_proxies();
        let proxy_protocol = self.proxy_protocol(trusted_proxies.is_empty());
        Config {
            config_file: self.layers.file.clone(),
            listen,
            tls,
            control,
            shop_tokens,
            cors: self.cors(),
            public_confirm,
            cores,
            connections_max,
            connections_per_address: self.connections_per_address(),
            trusted_proxies,
            proxy_protocol,
            forwarded_header: self.forwarded_header(),
            admission: self.admission(),
            rate_per_user: self.rate("rate-per-user"),
            rate_per_address: self.rate("rate-per-address"),
            ledger,
            orders,
            restored_ledger,
            sales,
            sales_given,
            splits: split.parts(),
            stock,
            stock_buffer_percent,
            instance: self.value_or("instance", None, |text| value::instance_name(text).map(Some)),
            stat_log: self.value_or("stat-log", None, |text| value::stat_log(text).map(Some)),
            log_filter: self.value_or("log", value::LOG_FILTER_DEFAULT.into(), value::log_filter),
            log_format: self.value_or(
                "log-format",
                LogFormat::of_standard_error(),
                value::log_format,
            ),
            drain_delay_ms: self.duration(
                "drain-delay",
                limits::DRAIN_DELAY_MS,
                (0, limits::DRAIN_DELAY_MS_MAX),
            ),
            drain_timeout_ms: self.duration(
                "drain-timeout",
                limits::DRAIN_DEADLINE_MS,
                (0, limits::DRAIN_DEADLINE_MS_MAX),
            ),
            idle_timeout_ms: self.duration("idle-timeout", limits::IDLE_DEADLINE_MS, connection),
            head_timeout_ms: self.duration("head-timeout", limits::HEAD_DEADLINE_MS, connection),
            body_timeout_ms: self.duration("body-timeout", limits::BODY_DEADLINE_MS, connection),
            write_timeout_ms: self.duration(
                "write-timeout",
                limits::WRITE_STALL_DEADLINE_MS,
                connection,
            ),
            ledger_timeout_ms: self.duration(
                "ledger-timeout",
                limits::LEDGER_ANSWER_DEADLINE_MS,
                ledger_range,
            ),
            waiting_max,
            warnings: std::mem::take(&mut self.layers.warnings),
            sources: SETTINGS.iter().map(|s| (s.name, self.layers.source(s.name))).collect(),
            given: self.layers.given(),
        }
    }

    fn cores(&mut self, host: &Host) -> Vec<usize> {
        let default = host.default_cores().to_vec();
        let cores = self.value_or("cores", default, |text| value::cores(text, &host.cores));
        if cores.len() > host.cores_paid {
            self.layers.warnings.push(format!(
                "cores: {} cores, but the control group's CPU quota allows {}: the kernel will pause all \
                 of them",
                cores.len(),
                host.cores_paid
            ));
        }
        cores
    }

    fn waiting_max(&mut self) -> Option<usize> {
        self.value_or("waiting-max", None, |text| {
            value::whole_number(text, 1, limits::CONNECTIONS_MAX).map(|n| Some(n as usize))
        })
    }

    fn connections_max(&mut self, host: &Host, cores: usize, many_nodes: bool) -> u64 {
        let allowed = host.connections_max(cores, many_nodes);
        let limit = host.file_limit;
        if allowed == 0 {
            self.problems.push(format!(
                "the limit on open files is {limit}, which leaves none for connections: \
                 raise it (`ulimit -Hn`, LimitNOFILE=)"
            ));
        }
        self.value_or("connections-max", allowed, |text| {
            let asked = value::whole_number(text, 1, limits::CONNECTIONS_MAX)?;
            if allowed != 0 && asked > allowed {
                return Err(format!(
                    "the limit on open files, {limit}, allows at most {allowed}: \
                     raise it (`ulimit -Hn`, LimitNOFILE=) or ask for less"
                ));
            }
            Ok(asked)
        })
    }

    fn ledger(&mut self) -> LedgerSetting {
        let default = CounterNames::default();
        let key = self.value_or("redis-counters-key", default.key, ledger::counters_key);
        let total_field =
            self.value_or("redis-total-field", default.total_field, ledger::counter_name);
        let sold_field =
            self.value_or("redis-sold-field", default.sold_field, ledger::counter_name);
        if total_field == sold_field {
            let name = match self.layers.source("redis-sold-field") {
                Source::Default => "redis-total-field",
                _ => "redis-sold-field",
            };
            self.reject(
                name,
                &sold_field,
                "the total and the number sold must be different fields",
            );
        }
        let counters = CounterNames { key, total_field, sold_field };
        let embedded = LedgerSetting::Embedded(EMBEDDED_DIR_DEFAULT.into());
        let wrong_before = self.problems.len();
        let mut setting = self.value_or("ledger", embedded, ledger::parse);
        let ledger_wrong = self.problems.len() != wrong_before;

        let ca = self.value_or("redis-ca", None, |text| ledger::certificates(text).map(Some));
        let path = |text: &str| Ok(Some(text.to_owned()));
        let certificate = self.value_or("redis-cert", None, path);
        let key = self.value_or("redis-key", None, path);
        let client = ledger::client_files(certificate.as_deref(), key.as_deref());
        let client = client.unwrap_or_else(|(name, problem)| {
            let file = if name == "redis-cert" { &certificate } else { &key };
            self.reject(name, file.as_deref().unwrap_or_default(), &problem);
            None
        });
        let uses_tls = matches!(&setting, LedgerSetting::Redis(redis) if redis.tls);
        if !(uses_tls || ledger_wrong) {
            let ca = ca.as_ref().map(|path: &PathBuf| path.display().to_string());
            for (name, file) in
                [("redis-ca", &ca), ("redis-cert", &certificate), ("redis-key", &key)]
            {
                if let Some(file) = file {
                    self.reject(name, file, "is only of use with a ledger rediss://…, over TLS");
                }
            }
        }
        let replicas = self.value_or("redis-wait", 0, |text| {
            value::whole_number(text, 0, limits::REDIS_WAIT_MAX).map(|count| count as u32)
        });
        let sentinel_login = self.sentinel_login();
        match &mut setting {
            LedgerSetting::Redis(redis) => {
                redis.files = TlsFiles { ca, client };
                redis.counters = counters;
                redis.replicas = replicas;
                redis.sentinel_login = sentinel_login;
            }
            LedgerSetting::Embedded(_) => {
                let redis = SETTINGS.iter().map(|setting| setting.name);
                // TLS settings without TLS are an error already.
                let tls = ["redis-ca", "redis-cert", "redis-key"];
                let redis = redis.filter(|name| name.starts_with("redis-") && !tls.contains(name));
                for name in redis {
                    if self.layers.values(name).is_some() {
                        let warning = format!("{name} has no effect on an embedded ledger");
                        self.layers.warnings.push(warning);
                    }
                }
            }
        }
        setting
    }

    fn sentinel_login(&mut self) -> Option<SentinelLogin> {
        let text = |text: &str| Ok(Some(text.to_owned()));
        let user = self.value_or("redis-sentinel-user", None, text);
        let password = self.value_or("redis-sentinel-password", None, text);
        ledger::sentinel_login(user.clone(), password).unwrap_or_else(|problem| {
            self.reject("redis-sentinel-user", &user.unwrap_or_default(), &problem);
            None
        })
    }

    fn stock(&mut self) -> (StockSetting, u64) {
        let stock = self.value_or("stock", StockSetting::Auto, value::stock);
        let buffer =
            self.value_or("stock-buffer", limits::STOCK_BUFFER_PERCENT, value::stock_buffer);
        if stock != StockSetting::Auto && self.layers.values("stock-buffer").is_some() {
            let warning =
                "stock-buffer has no effect: a stock that is a number includes its buffer";
            self.layers.warnings.push(warning.to_owned());
        }
        (stock, buffer)
    }

    fn public_confirm(&mut self) -> bool {
        let on = self.value_or("public-confirm", false, value::on_or_off);
        if on {
            let warning = "public-confirm is on: every buyer can mark a reservation as paid; use it for \
                        demonstrations and benchmarks only";
            self.layers.warnings.push(warning.to_owned());
        }
        on
    }

    fn restored_ledger(&mut self, ledger: &LedgerSetting) -> Option<LedgerId> {
        let to_redis = matches!(ledger, LedgerSetting::Redis(_));
        self.value_or("restored-ledger", None, |text| match text.parse()? {
            _ if to_redis => Err("is for an embedded ledger only".into()),
            id => Ok(Some(id)),
        })
    }

    /// The number of parts of sales without splits=.
    fn splits(&mut self, ledger: &LedgerSetting) -> Split {
        let can_split = matches!(ledger, LedgerSetting::Redis(_));
        self.value_or("splits", Split::Whole, |text| match sale::splits(text)? {
            split if split != Split::Whole && !can_split => Err(SPLITS_NEED_REDIS.into()),
            split => Ok(split),
        })
    }

    fn sales(&mut self, ledger: &LedgerSetting, split: Split) -> (Vec<(SaleId, SaleSpec)>, bool) {
        let Some(given) = self.layers.values("sale").map(<[String]>::to_vec) else {
            let (id, total) = SALE_DEFAULT;
            let id = SaleId::new(id).expect("the default sale's id is valid");
            return match ledger {
                LedgerSetting::Embedded(_) => (vec![(id, SaleSpec::with_total(total))], false),
                LedgerSetting::Redis(_) => (Vec::new(), false),
            };
        };
        let can_split = matches!(ledger, LedgerSetting::Redis(_));
        let mut sales: Vec<(SaleId, SaleSpec)> = Vec::with_capacity(given.len());
        for text in &given {
            match sale::parse(text, split) {
                Ok((_, spec)) if spec.split != Split::Whole && !can_split => {
                    self.reject("sale", text, SPLITS_NEED_REDIS);
                }
                Ok((id, _)) if sales.iter().any(|(other, _)| *other == id) => {
                    self.reject("sale", text, &format!("the sale {id} is given twice"));
                }
                Ok((id, spec)) => {
                    self.layers.warnings.extend(sale::doubts(&id, &spec, wall_ms()));
                    sales.push((id, spec));
                }
                Err(problem) => self.reject("sale", text, &problem),
            }
        }
        if given.len() > limits::SALES_MAX {
            let problem = format!("{} sales, at most {}", given.len(), limits::SALES_MAX);
            self.reject("sale", &given[given.len() - 1], &problem);
        }
        (sales, true)
    }
}

#[cfg(test)]
mod tests;
