//! Compares a configuration that a running server reads again: which settings apply at once, and which
//! need a restart.

use super::Config;
use super::admission::ADMISSION_KEYS;
use super::control::{CONTROL_TOKEN, ControlSetting, READ_TOKEN, SHOP_TOKEN, Tokens};
use super::source::{Changes, Setting};

impl Config {
    /// The settings that differ in `new`. `self` is the configuration in use.
    pub fn changes(&self, new: &Self) -> Changes {
        let mut changes = self.given.changes(&new.given, |setting| self.is_applied(new, setting));
        if self.keeps_its_control_port(new) {
            // The file of a token can have new content under the same name.
            let tokens = |config: &Self| {
                let Tokens { operator, reader } = config.tokens();
                [(CONTROL_TOKEN, operator), (READ_TOKEN, reader)]
            };
            for ((names, old), (_, new)) in tokens(self).into_iter().zip(tokens(new)) {
                let is_listed = changes.applied.iter().any(|name| names.contains(name));
                if !is_listed && old != new {
                    changes.applied.push(names[0]);
                }
            }
        }
        if self.shop_tokens != new.shop_tokens && !changes.applied.contains(&SHOP_TOKEN) {
            changes.applied.push(SHOP_TOKEN);
        }
        // So can the file of admission keys.
        let keys = |config: &Self| config.admission.as_ref().map(|s| s.admission.clone());
        let is_listed = changes.applied.iter().any(|name| name.starts_with("admission-"));
        if !is_listed && keys(self) != keys(new) {
            changes.applied.push(ADMISSION_KEYS);
        }
        changes
    }

    fn tokens(&self) -> Tokens {
        self.control.as_ref().map(|port| port.tokens.clone()).unwrap_or_default()
    }

    /// Whether `new` has the control port at the same address.
    fn keeps_its_control_port(&self, new: &Self) -> bool {
        let address = |config: &Self| config.control.as_ref().map(|port| port.address);
        address(self) == address(new)
    }

    /// Whether the server applies this setting of `new` without a restart. Tokens of the control port are
    /// checked together with its address. Tokens for another address, or a missing token, could open the
    /// current address to everybody, so they do not apply.
    fn is_applied(&self, new: &Self, setting: &Setting) -> bool {
        let is_token = CONTROL_TOKEN.contains(&setting.name) || READ_TOKEN.contains(&setting.name);
        setting.changeable && (!is_token || self.keeps_its_control_port(new))
    }

    /// The configuration in use after a reload: `new` for settings that apply at once, `self` for the others.
    pub fn with_applied(&self, new: &Self) -> Self {
        let tokens = if self.keeps_its_control_port(new) { new.tokens() } else { self.tokens() };
        let control = self.control.clone().map(|port| ControlSetting { tokens, ..port });
        Self {
            control,
            shop_tokens: new.shop_tokens.clone(),
            cors: new.cors.clone(),
            tls: self.tls.as_ref().and(new.tls.clone()),
            connections_max: new.connections_max,
            connections_per_address: new.connections_per_address,
            trusted_proxies: new.trusted_proxies.clone(),
            proxy_protocol: new.proxy_protocol,
            forwarded_header: new.forwarded_header,
            admission: new.admission.clone(),
            rate_per_user: new.rate_per_user,
            rate_per_address: new.rate_per_address,
            log_filter: new.log_filter.clone(),
            drain_delay_ms: new.drain_delay_ms,
            drain_timeout_ms: new.drain_timeout_ms,
            idle_timeout_ms: new.idle_timeout_ms,
            head_timeout_ms: new.head_timeout_ms,
            body_timeout_ms: new.body_timeout_ms,
            write_timeout_ms: new.write_timeout_ms,
            ledger_timeout_ms: new.ledger_timeout_ms,
            waiting_max: new.waiting_max,
            given: self.given.with_applied(&new.given, |setting| self.is_applied(new, setting)),
            ..self.clone()
        }
    }
}
