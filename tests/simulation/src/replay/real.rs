//! The real Redis, and stampede's own way to talk to it.

use std::io::{Read, Write};
use std::net::Shutdown;

use stampede::ledger::redis::{
    Codec, DecodeError, KeyTemplates, RedisSettings, decode_all, handshake, load_scripts,
};
use stampede::ledger::{Group, GroupReply};
use stampede::sale::{Creation, Outcome, SaleId};

use super::history::{Call, begins_sale};
use super::reference::Expected;
use super::server::{RedisConnection, RedisServer};

/// For all.
const ARGUMENTS: [&str; 2] = ["--enable-debug-command", "yes"];
/// What it keeps survives that it is killed.
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// The answer to a group.
pub type Answer = Result<GroupReply, DecodeError>;

/// A running Redis and a connection to it. Panics if Redis does not answer at all.
pub struct RealRedis {
    server: RedisServer,
    codec: Codec,
    connection: RedisConnection,
    has_scripts: bool,
    clock_ms: u64,
}

impl RealRedis {
    /// Starts one. If it [may be killed](Self::kill), it is slower.
    pub fn start(may_be_killed: bool) -> Self {
        let durable = if may_be_killed { &DURABLE[..] } else { &[] };
        let server = RedisServer::start(&[&ARGUMENTS[..], durable].concat());
        let codec = Codec::new(KeyTemplates::default());
        let connection = connect(&server, &codec);
        Self { server, codec, connection, has_scripts: true, clock_ms: 0 }
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.connection.text("FLUSHALL");
    }

    /// A new connection, which has the scripts.
    pub fn renew(&mut self) {
        self.reconnect();
    }

    /// Kills it and starts it again.
    pub fn kill(&mut self) {
        self.server.restart();
        self.reconnect();
    }

    /// It writes everything to a file and reads it.
    pub fn reload(&mut self) {
        assert_eq!(self.connection.text("DEBUG RELOAD"), "OK");
    }

    /// It forgets the scripts.
    pub fn flush_scripts(&mut self) {
        self.connection.text("SCRIPT FLUSH");
        self.has_scripts = false;
    }

    /// Removes everything of a sale.
    pub fn evict(&mut self, sale: &SaleId) {
        let keys = self.codec.keys().of(sale).all().join(" ");
        self.connection.text(&format!("UNLINK {keys}"));
    }

    /// Sends the first command of a call but for its last byte.
    pub fn send_half(&mut self, call: &Call) {
        let first = call.groups.iter().find_map(|group| {
            let command = group.commands.first().filter(|command| !command.is_cheap())?;
            Some(Group { sale: group.sale.clone(), commands: vec![command.clone()] })
        });
        let Some(first) = first else { return };
        let mut request = Vec::new();
        self.codec_of(call).encode_all(&[&first], &mut request);
        request.pop();
        self.send_and_end(&request);
    }

    /// Carries out a call. `None`: nobody has read the answers. A sale gets the number of the
    /// creation that is expected: it depends on the clock of Redis, which shows `clock_ms`.
    pub fn call(
        &mut self,
        call: &Call,
        clock_ms: u64,
        expected: &[Expected],
    ) -> Option<Vec<Answer>> {
        self.clock_ms = clock_ms;
        let groups: Vec<&Group> = call.groups.iter().collect();
        if groups.iter().any(|group| group.commands.iter().any(begins_sale)) {
            let both = call.groups.iter().zip(expected);
            return Some(
                both.map(|(group, expected)| self.beginning(call, group, expected)).collect(),
            );
        }
        // Without scripts nothing is carried out, and nobody would know.
        if call.is_unread && self.has_scripts {
            let mut request = Vec::new();
            self.codec_of(call).encode_all(&groups, &mut request);
            self.send_and_end(&request);
            return None;
        }
        Some(self.send(call, &groups))
    }

    /// Carries out a group that creates a sale: each piece alone that ends with a creation.
    fn beginning(&mut self, call: &Call, group: &Group, expected: &Expected) -> Answer {
        let wanted = expected.as_ref().map_or(&[][..], |reply| &reply.outcomes);
        let mut all = GroupReply { outcomes: Vec::new(), free: None, now_ms: 0 };
        for commands in group.commands.split_inclusive(begins_sale) {
            let piece = Group { sale: group.sale.clone(), commands: commands.to_vec() };
            let mut reply = self.send(call, &[&piece]).remove(0)?;
            let wanted = wanted.get(all.outcomes.len() + commands.len() - 1);
            if let Some(outcome) = reply.outcomes.last_mut() {
                self.number(&group.sale, outcome, wanted);
            }
            all.outcomes.append(&mut reply.outcomes);
            (all.free, all.now_ms) = (reply.free, reply.now_ms);
        }
        Ok(all)
    }

    /// Gives the sale the number of its creation.
    fn number(&mut self, sale: &SaleId, got: &mut Outcome, wanted: Option<&Outcome>) {
        let (Outcome::Created(got) | Outcome::Sale(got)) = got else { return };
        let Some(Outcome::Created(wanted) | Outcome::Sale(wanted)) = wanted else { return };
        if got.creation == Creation::UNKNOWN && wanted.creation != Creation::UNKNOWN {
            let key = &self.codec.keys().of(sale).all()[1];
            self.connection.text(&format!("HSET {key} creation {}", wanted.creation.0));
            got.creation = wanted.creation;
        }
    }

    /// Sends groups. If the scripts are gone, it loads them and sends those again that were not
    /// carried out, as a link does.
    fn send(&mut self, call: &Call, groups: &[&Group]) -> Vec<Answer> {
        let mut answers = self.exchange(call, groups);
        if answers.contains(&Err(DecodeError::NoScript)) {
            load_scripts(self.connection.stream(), self.codec.scripts())
                .expect("scripts are loaded");
            self.has_scripts = true;
            for (group, answer) in groups.iter().zip(&mut answers) {
                if *answer == Err(DecodeError::NoScript) {
                    *answer = self.exchange(call, &[*group]).remove(0);
                }
            }
        }
        answers
    }

    fn exchange(&mut self, call: &Call, groups: &[&Group]) -> Vec<Answer> {
        let mut request = Vec::new();
        let count = self.codec_of(call).encode_all(groups, &mut request);
        decode_all(groups, &self.connection.send(&request, count))
    }

    fn codec_of(&self, call: &Call) -> Codec {
        let mut codec = self.codec.in_epoch(call.epoch);
        codec.set_now_ms(Some(self.clock_ms));
        codec
    }

    /// Sends this and ends the connection. Redis carries out every whole command.
    fn send_and_end(&mut self, request: &[u8]) {
        let stream = self.connection.stream();
        stream.write_all(request).expect("send to Redis");
        stream.shutdown(Shutdown::Write).expect("end the connection");
        // Redis closes it when it has carried them out.
        stream.read_to_end(&mut Vec::new()).expect("the end of the connection");
        self.reconnect();
    }

    fn reconnect(&mut self) {
        // This loads the scripts.
        self.connection = connect(&self.server, &self.codec);
        self.has_scripts = true;
    }
}

fn connect(server: &RedisServer, codec: &Codec) -> RedisConnection {
    let settings = RedisSettings::from_url(&server.url()).expect("a URL");
    let mut stream = server.stream();
    handshake(&mut stream, &settings, "replay", codec.scripts()).expect("a handshake");
    RedisConnection::new(stream)
}
