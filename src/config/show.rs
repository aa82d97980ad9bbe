//! The effective configuration as text: a configuration file with the source of each value, and
//! no secret.

use std::fmt::Write;
use std::path::PathBuf;

use super::admission::{ADMISSION_KEYS, AdmissionSetting};
use super::control::{CONTROL_TOKEN, READ_TOKEN, SHOP_TOKEN};
use super::cors::CORS_ORIGINS;
use super::source::{FORMAT, FORMAT_KEY};
use super::value::format_cores;
use super::{Config, CounterNames, LedgerSetting, LogFormat, Source, StockSetting, Token};
use crate::clock::rfc3339;
use crate::duration::format_duration;
use crate::limits::TIME_MS_MAX;
use crate::orders::Destination;
use crate::sale::{Rules, SaleId, SaleSpec};

impl Config {
    /// The configuration in the format of the file, each setting with where it comes from. A
    /// setting that is off is a comment. A password stands as `***`.
    pub fn to_toml(&self) -> String {
        let mut page = Page { text: String::new(), config: self };
        if let Some(file) = &self.config_file {
            page.line("# config", &quoted(&file.display().to_string()), "config");
        }
        page.text += &format!("{FORMAT_KEY} = {FORMAT}\n");
        let listen: Vec<_> = self.listen.iter().map(|a| quoted(&a.to_string())).collect();
        page.line("listen", &format!("[{}]", listen.join(", ")), "listen");
        page.tls();
        page.control();
        page.shop_tokens();
        match self.cors.values() {
            origins if origins.is_empty() => page.off(CORS_ORIGINS),
            origins => {
                let origins: Vec<_> = origins.into_iter().map(quoted).collect();
                page.setting(CORS_ORIGINS, &format!("[{}]", origins.join(", ")));
            }
        }
        page.setting("public-confirm", &self.public_confirm.to_string());
        page.setting("cores", &quoted(&format_cores(&self.cores)));
        page.setting("connections-max", &self.connections_max.to_string());
        match self.connections_per_address {
            0 => page.setting("connections-per-address", "\"off\""),
            most => page.setting("connections-per-address", &most.to_string()),
        }
        let proxies: Vec<_> = self.trusted_proxies.iter().map(|n| quoted(&n.to_string())).collect();
        page.setting("trusted-proxies", &format!("[{}]", proxies.join(", ")));
        page.setting("proxy-protocol", &self.proxy_protocol.to_string());
        page.setting("forwarded-header", &quoted(self.forwarded_header.as_str()));
        page.admission();
        page.ledger(&self.ledger);
        match &self.orders {
            Some(url) => page.setting("orders", &quoted(&url.to_string())),
            None => page.off("orders"),
        }
        let path = |path: &std::path::Path| quoted(&path.display().to_string());
        let webhooks = match &self.orders {
            Some(Destination::Webhooks(options)) => Some(&**options),
            _ => None,
        };
        for (name, file) in [
            ("webhook-state", webhooks.map(|it| it.state.as_path())),
            ("webhook-secret-file", webhooks.map(|it| it.secrets.path())),
            ("webhook-ca", webhooks.and_then(|it| it.ca.as_deref())),
        ] {
            match file {
                Some(file) => page.setting(name, &path(file)),
                None => page.off(name),
            }
        }
        match self.restored_ledger {
            Some(id) => page.setting("restored-ledger", &quoted(&id.to_string())),
            None => page.off("restored-ledger"),
        }
        page.setting("splits", &self.splits.to_string());
        match self.stock {
            StockSetting::Auto => page.setting("stock", "\"auto\""),
            StockSetting::Fixed(count) => page.setting("stock", &count.to_string()),
        }
        page.setting("stock-buffer", &quoted(&format!("{}%", self.stock_buffer_percent)));
        match &self.instance {
            Some(name) => page.setting("instance", &quoted(name)),
            None => page.off("instance"),
        }
        match &self.stat_log {
            Some(path) => page.setting("stat-log", &quoted(&path.display().to_string())),
            None => page.off("stat-log"),
        }
        page.setting("log", &quoted(&self.log_filter));
        let format = match self.log_format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
            LogFormat::Journal => "journal",
        };
        page.setting("log-format", &quoted(format));
        for (name, ms) in [
            ("drain-delay", self.drain_delay_ms),
            ("drain-timeout", self.drain_timeout_ms),
            ("idle-timeout", self.idle_timeout_ms),
            ("head-timeout", self.head_timeout_ms),
            ("body-timeout", self.body_timeout_ms),
            ("write-timeout", self.write_timeout_ms),
            ("ledger-timeout", self.ledger_timeout_ms),
        ] {
            page.setting(name, &quoted(&format_duration(ms)));
        }
        match self.waiting_max {
            Some(most) => page.setting("waiting-max", &most.to_string()),
            None => page.off("waiting-max"),
        }
        if self.sales.is_empty() {
            page.off("sale");
        }
        for (id, spec) in &self.sales {
            page.sale(id, spec);
        }
        page.text
    }

    /// Where a setting comes from.
    pub fn source(&self, name: &str) -> Source {
        let found = self.sources.iter().find(|(other, _)| *other == name);
        found.map_or(Source::Default, |(_, source)| *source)
    }
}

struct Page<'a> {
    text: String,
    config: &'a Config,
}

impl Page<'_> {
    fn line(&mut self, name: &str, value: &str, setting: &str) {
        let source = self.config.source(setting).as_str();
        writeln!(self.text, "{:<50}  # {source}", format!("{name} = {value}"))
            .expect("to a string");
    }

    fn setting(&mut self, name: &str, value: &str) {
        self.line(name, value, name);
    }

    fn off(&mut self, name: &str) {
        let source = self.config.source(name).as_str();
        writeln!(self.text, "{:<50}  # {source}", format!("# {name}: none")).expect("to a string");
    }

    fn tls(&mut self) {
        let Some(tls) = &self.config.tls else { return };
        let list = |files: Vec<&PathBuf>| {
            let files: Vec<_> = files.iter().map(|f| quoted(&f.display().to_string())).collect();
            format!("[{}]", files.join(", "))
        };
        let certificates = list(tls.pairs.iter().map(|pair| &pair.certificate).collect());
        let keys = list(tls.pairs.iter().map(|pair| &pair.key).collect());
        self.setting("tls-cert", &certificates);
        self.setting("tls-key", &keys);
        match &tls.ticket_keys {
            Some(file) => self.setting("tls-ticket-keys", &quoted(&file.display().to_string())),
            None => self.off("tls-ticket-keys"),
        }
    }

    fn control(&mut self) {
        let Some(control) = &self.config.control else {
            return self.setting("control", "\"off\"");
        };
        self.setting("control", &quoted(&control.address.to_string()));
        self.token(CONTROL_TOKEN, control.tokens.operator.as_ref());
        self.token(READ_TOKEN, control.tokens.reader.as_ref());
    }

    fn shop_tokens(&mut self) {
        let files = self.config.shop_tokens.iter().filter_map(Token::file);
        let files: Vec<_> = files.map(|file| quoted(&file.display().to_string())).collect();
        match files.is_empty() {
            true => self.off(SHOP_TOKEN),
            false => self.setting(SHOP_TOKEN, &format!("[{}]", files.join(", "))),
        }
    }

    fn admission(&mut self) {
        match &self.config.admission {
            None => self.off(ADMISSION_KEYS),
            Some(AdmissionSetting { file, admission }) => {
                self.setting(ADMISSION_KEYS, &quoted(&file.display().to_string()));
                self.setting("admission-audience", &quoted(&admission.audience));
            }
        }
        for (name, rate) in [
            ("rate-per-user", self.config.rate_per_user),
            ("rate-per-address", self.config.rate_per_address),
        ] {
            match rate {
                None => self.setting(name, "\"off\""),
                Some(rate) => {
                    self.setting(name, &quoted(&format!("{}/{}", rate.per_s(), rate.burst())));
                }
            }
        }
    }

    fn token(&mut self, [by_file, by_text]: [&str; 2], token: Option<&Token>) {
        match token.map(Token::file) {
            Some(Some(file)) => self.setting(by_file, &quoted(&file.display().to_string())),
            Some(None) => self.setting(by_text, "\"***\""),
            None => self.off(by_file),
        }
    }

    fn ledger(&mut self, ledger: &LedgerSetting) {
        self.setting("ledger", &quoted(&ledger.to_string()));
        let LedgerSetting::Redis(redis) = ledger else {
            return;
        };
        let client = redis.files.client.as_ref();
        for (name, path) in [
            ("redis-ca", redis.files.ca.as_ref()),
            ("redis-cert", client.map(|client| &client.certificate)),
            ("redis-key", client.map(|client| &client.key)),
        ] {
            match path {
                Some(path) => self.setting(name, &quoted(&path.display().to_string())),
                None => self.off(name),
            }
        }
        let CounterNames { key, total_field, sold_field } = &redis.counters;
        self.setting("redis-counters-key", &quoted(key));
        self.setting("redis-total-field", &quoted(total_field));
        self.setting("redis-sold-field", &quoted(sold_field));
        self.setting("redis-wait", &redis.replicas.to_string());
        let Some(login) = &redis.sentinel_login else {
            return self.off("redis-sentinel-password");
        };
        if let Some(user) = &login.user {
            self.setting("redis-sentinel-user", &quoted(user));
        }
        self.setting("redis-sentinel-password", "\"***\"");
    }

    fn sale(&mut self, id: &SaleId, spec: &SaleSpec) {
        let source = self.config.source("sale").as_str();
        writeln!(self.text, "\n{:<50}  # {source}", "[[sale]]").expect("to a string");
        let mut lines = vec![
            format!("id = {}", quoted(id.as_str())),
            format!("total = {}", spec.total),
            format!("hold = {}", quoted(&format_duration(spec.hold_ms))),
            format!("limit = {}", spec.limit_per_user),
            format!("quantity = {}", spec.quantity_max),
        ];
        let (rules, default) = (spec.rules, Rules::default());
        if rules.quantity_min != default.quantity_min {
            lines.push(format!("min = {}", rules.quantity_min));
        }
        if rules.extend_max_ms != default.extend_max_ms {
            let text = match rules.extend_max_ms {
                0 => "0".to_owned(),
                ms => format_duration(ms),
            };
            lines.push(format!("extend = {}", quoted(&text)));
        }
        if let Some(reservations_max) = rules.reservations_max {
            lines.push(format!("reservations = {reservations_max}"));
        }
        if rules.reservations_per_user_max != default.reservations_per_user_max {
            lines.push(format!("reservations_per_user = {}", rules.reservations_per_user_max));
        }
        if !spec.types.is_empty() {
            let types = spec.types.iter().map(|(name, cap)| format!("{name} = {cap}"));
            lines.push(format!("types = {{ {} }}", types.collect::<Vec<_>>().join(", ")));
        }
        if spec.split.parts() > 1 || self.config.splits > 1 {
            lines.push(format!("splits = {}", spec.split.parts()));
        }
        if spec.opens_at_ms != 0 {
            lines.push(format!("opens = {}", rfc3339(spec.opens_at_ms)));
        }
        if spec.closes_at_ms != TIME_MS_MAX {
            lines.push(format!("closes = {}", rfc3339(spec.closes_at_ms)));
        }
        self.text += &lines.join("\n");
        self.text.push('\n');
    }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
