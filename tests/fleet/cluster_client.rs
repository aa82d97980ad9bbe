//! The blocking client of a Cluster, as sweep, audit and orders use it: each command once, at its
//! key's node, in order, while slots move and a node dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use redis::Value;
use stampede::ledger::redis::{
    Codec, KeyTemplates, Pipeline, RedisClient, RedisLedger, RedisSettings,
};
use stampede::ledger::{Batch, Group, LedgerError};
use stampede::sale::{Command, SaleId, SaleSpec};

use crate::cluster::on_each_primary;
use crate::lab::until;
use crate::six::{Six, signal};
use crate::table::Line;

/// Keys, about a third of them on each primary.
const KEYS: usize = 60;
/// Slots that are moved at a time, with their keys.
const SLOTS: u16 = 400;
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs it.
pub fn run() -> Vec<Line> {
    let mut six = Six::start(&[]);
    let mut client = client(&six);
    let (rounds, moves) = count_while_slots_move(&six, &mut client);
    let naps = read_others_while_one_node_sleeps(&six, &mut client);
    let away = ask_others_while_one_node_is_away(&mut six, &mut client);
    vec![
        Line::new(
            format!("pipelines of {KEYS} counters while {SLOTS} slots move: counted, moves"),
            "each once, in order",
            format!("{rounds} times; {moves}"),
        ),
        Line::new("… a node sleeps beyond the time: lost, answered", "1 each, 2 each", naps),
        Line::new("… a node dies: its commands, those of others", "an error each, done", away),
    ]
}

fn client(six: &Six) -> RedisClient {
    let settings = RedisSettings::from_url(&six.url()).expect("a URL");
    let codec = Codec::new(KeyTemplates::default());
    let ledger = RedisLedger::new(settings, codec, None).expect("a ledger");
    RedisClient::new(Arc::new(ledger), "fleet")
}

/// Adds one to each of the counters.
fn count_up() -> Pipeline {
    let mut commands = Pipeline::new();
    for number in 0..KEYS {
        commands.add(&[b"INCR", format!("counter-{number}").as_bytes()]);
    }
    commands
}

fn count_while_slots_move(six: &Six, client: &mut RedisClient) -> (i64, usize) {
    let (home, other) = (six.settled(0), six.settled(16_383));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let moving = scope.spawn(|| {
            for _ in 0..2 {
                six.reshard(&home, &other, SLOTS);
                six.reshard(&other, &home, SLOTS);
            }
            done.store(true, Ordering::Relaxed);
        });
        let mut rounds = 0;
        while !done.load(Ordering::Relaxed) {
            assert!(!moving.is_finished() || done.load(Ordering::Relaxed), "redis-cli failed");
            rounds += 1;
            let replies = client.pipeline(&count_up()).expect("no answer is lost");
            assert_eq!(replies, vec![Value::Int(rounds); KEYS]);
        }
        (rounds, 4)
    })
}

/// Waiting for one node does not make the answers of the others late.
fn read_others_while_one_node_sleeps(six: &Six, client: &mut RedisClient) -> String {
    let sales = on_each_primary(six);
    let each = |command: &Command| {
        let sales = sales.iter().map(|(sale, _)| SaleId::new(sale).expect("a sale id"));
        let group = |sale| Group { sale, commands: vec![command.clone()] };
        Batch { groups: sales.map(group).collect() }
    };
    let made = client.apply_each(&each(&Command::Create(SaleSpec::with_total(1))));
    assert!(made.expect("replies").iter().all(Result::is_ok));
    // Far less than the time after which the others take it for dead.
    client.set_answer_time(Duration::from_millis(200));
    for (place, (_, node)) in sales.iter().enumerate().chain(sales.iter().enumerate()) {
        let sleeper = six.process(node);
        signal(&sleeper, "STOP");
        let replies = client.apply_each(&each(&Command::Show)).expect("replies");
        signal(&sleeper, "CONT");
        let lost: Vec<bool> =
            replies.iter().map(|reply| matches!(reply, Err(LedgerError::Lost(_)))).collect();
        let answered: Vec<bool> = replies.iter().map(Result::is_ok).collect();
        assert!((0..3).all(|at| lost[at] == (at == place)), "{replies:?}");
        assert!((0..3).all(|at| answered[at] != lost[at]), "{replies:?}");
        until("it answers again", PATIENCE, || {
            client.apply_each(&each(&Command::Show)).is_ok_and(|all| all.iter().all(Result::is_ok))
        });
    }
    client.set_answer_time(Duration::from_secs(10));
    "1, 2 in 6 rounds".to_owned()
}

fn ask_others_while_one_node_is_away(six: &mut Six, client: &mut RedisClient) -> String {
    let victim = six.place(six.settled(0).port);
    let before = client.pipeline(&count_up()).expect("all answer").len();
    assert_eq!(before, KEYS);
    six.nodes[victim].kill();
    // Nothing was under way, so nothing is lost: commands for that node are refused.
    let replies = client.pipeline(&count_up()).expect("nothing was sent to it");
    let refused = |reply: &&Value| match reply {
        Value::ServerError(error) => error.code() == "CLUSTERDOWN",
        Value::Int(_) => false,
        other => panic!("{other:?}"),
    };
    let refused = replies.iter().filter(refused).count();
    assert!((1..KEYS).contains(&refused), "{refused}");
    until("its replica takes over", PATIENCE, || {
        let replies = client.pipeline(&count_up());
        replies.is_ok_and(|replies| replies.iter().all(|reply| matches!(reply, Value::Int(_))))
    });
    format!("{refused}, {}", KEYS - refused)
}
