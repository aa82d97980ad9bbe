//! What a running server takes over of a configuration that it reads again, and what takes a restart.

use super::Config;
use super::admission::ADMISSION_KEYS;
use super::control::{CONTROL_TOKEN, ControlSetting, READ_TOKEN, SHOP_TOKEN, Tokens};
use super::source::{Changes, Setting};

impl Config {
    /// How `new` differs. The server has taken over what `self` says of settings that can change.
    pub fn changes(&self, new: &Self) -> Changes {
        let mut changes = self.given.changes(&new.given, |setting| self.takes_over(new, setting));
        if self.keeps_its_control_port(new) {
            // A token stands in a file, which can hold another one under the same name.
            let tokens = |config: &Self| {
                let Tokens { operates, looks } = config.tokens();
                [(CONTROL_TOKEN, operates), (READ_TOKEN, looks)]
            };
            for ((names, old), (_, new)) in tokens(self).into_iter().zip(tokens(new)) {
                let is_told = changes.taken_over.iter().any(|name| names.contains(name));
                if !is_told && old != new {
                    changes.taken_over.push(names[0]);
                }
            }
        }
        if self.shop_tokens != new.shop_tokens && !changes.taken_over.contains(&SHOP_TOKEN) {
            changes.taken_over.push(SHOP_TOKEN);
        }
        // So does a key of admission.
        let keys = |config: &Self| config.admission.as_ref().map(|s| s.admission.clone());
        let is_told = changes.taken_over.iter().any(|name| name.starts_with("admission-"));
        if !is_told && keys(self) != keys(new) {
            changes.taken_over.push(ADMISSION_KEYS);
        }
        changes
    }

    fn tokens(&self) -> Tokens {
        self.control.as_ref().map(|port| port.tokens.clone()).unwrap_or_default()
    }

    /// Whether the control port that runs is where `new` wants one.
    fn keeps_its_control_port(&self, new: &Self) -> bool {
        let address = |config: &Self| config.control.as_ref().map(|port| port.address);
        address(self) == address(new)
    }

    /// Whether a running server takes over what `new` says of this setting. A control port's tokens are
    /// judged by its address: those for another one, or none at all, might open this one to everybody.
    fn takes_over(&self, new: &Self, setting: &Setting) -> bool {
        let is_token = CONTROL_TOKEN.contains(&setting.name) || READ_TOKEN.contains(&setting.name);
        setting.changeable && (!is_token || self.keeps_its_control_port(new))
    }

    /// What the server goes by after `new` was taken over: what it can't change stays what it was.
    pub fn taking_over(&self, new: &Self) -> Self {
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
            given: self.given.taking_over(&new.given, |setting| self.takes_over(new, setting)),
            ..self.clone()
        }
    }
}
