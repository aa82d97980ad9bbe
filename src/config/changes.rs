//! What a running server takes over of a configuration that it reads again, and what takes a restart.

use super::Config;
use super::source::Changes;

impl Config {
    /// How `new` differs. The server has taken over what `self` says of settings that can change.
    pub fn changes(&self, new: &Self) -> Changes {
        let mut changes = self.given.changes(&new.given);
        // A token stands in a file, which can hold another one under the same name.
        let token = |config: &Self| config.control.as_ref().and_then(|port| port.token.clone());
        let named = ["control-token", "control-token-file"];
        let is_told = changes.taken_over.iter().any(|name| named.contains(name));
        if !is_told && token(self) != token(new) {
            changes.taken_over.push("control-token-file");
        }
        changes
    }

    /// What the server goes by after `new` was taken over: what it can't change stays what it was.
    pub fn taking_over(&self, new: &Self) -> Self {
        let control = self.control.clone().map(|mut port| {
            port.token = new.control.as_ref().and_then(|port| port.token.clone());
            port
        });
        Self {
            control,
            tls: self.tls.as_ref().and(new.tls.clone()),
            connections_max: new.connections_max,
            connections_per_address: new.connections_per_address,
            trusted_proxies: new.trusted_proxies.clone(),
            proxy_protocol: new.proxy_protocol,
            log_filter: new.log_filter.clone(),
            drain_delay_ms: new.drain_delay_ms,
            drain_timeout_ms: new.drain_timeout_ms,
            idle_timeout_ms: new.idle_timeout_ms,
            head_timeout_ms: new.head_timeout_ms,
            body_timeout_ms: new.body_timeout_ms,
            write_timeout_ms: new.write_timeout_ms,
            ledger_timeout_ms: new.ledger_timeout_ms,
            waiting_max: new.waiting_max,
            given: self.given.taking_over(&new.given),
            ..self.clone()
        }
    }
}
