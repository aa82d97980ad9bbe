//! The counts per ticket type.

use stampede::ledger::client::{Check, Client, Repair};
use stampede::sale::{
    Command, Details, Lines, Outcome, Remaining, Reserve, SaleSpec, TypeUnits, Types,
};

use super::server::RedisServer;
use super::{SALE, apply, client, differing, id, look, reserve, ticket};

/// A request like another, for units of a type.
pub fn typed(request: Command, name: &str) -> Command {
    let Command::Reserve(reserve) = request else { panic!("no purchase: {request:?}") };
    let lines = Lines::from_text(&format!("{name}:{}", reserve.quantity));
    let details = Details { lines, ..Details::default() }.boxed();
    Command::Reserve(Reserve { details, ..reserve })
}

/// Damages the counts per type of a sound sale, audits, repairs, and audits again.
fn audit_and_repair(spoil: &[&str]) -> Check {
    let server = RedisServer::start(&[]);
    let mut client = client(&server);
    let types = Types::from_text("adult:30,child:9").unwrap();
    apply(&mut client, vec![Command::Create(SaleSpec { types, ..SaleSpec::with_total(100) })]);
    for n in 0..12 {
        let bought = typed(reserve(n, "ann", ""), if n % 3 == 0 { "child" } else { "adult" });
        assert!(matches!(apply(&mut client, vec![bought])[0], Outcome::Granted { .. }), "{n}");
    }
    apply(&mut client, (0..3).map(|n| Command::Confirm(id(n))).collect());
    let one = Remaining::Lines(Lines::from_text("adult:1").unwrap());
    apply(&mut client, vec![Command::Cancel(id(4)), Command::CancelTo(id(5), one)]);
    let sound = look(&mut client, false);
    assert!(differing(&sound).is_empty(), "{:#?}", sound.checks);
    assert_eq!(TypeUnits::list_to_text(&sound.view.by_type), "7:3,5:1");

    let mut redis = server.connect();
    redis.ask(&spoil.join(" "));
    let audit = look(&mut client, false);
    let differs = differing(&audit).into_iter().find(|check| check.name == "types");
    let differs = differs.unwrap_or_else(|| panic!("{:#?}", audit.checks)).clone();
    let repaired = look(&mut client, true);
    assert!(differing(&repaired).is_empty(), "{:#?}", repaired.checks);
    assert_eq!(redis.text(&format!("HGET {SALE} by_type")), "7:3,5:1");
    let late = typed(reserve(101, "late", ""), "child");
    assert!(matches!(apply(&mut client, vec![late])[0], Outcome::Granted { .. }));
    assert!(differing(&look(&mut client, true)).is_empty());
    differs
}

#[test]
fn changed_type_counts_are_repaired() {
    for wrong in ["9:3,4:1", "0:0,0:0", "7:3,5:4"] {
        let check = audit_and_repair(&["HSET", SALE, "by_type", wrong]);
        assert_eq!(check.expected, "7:3,5:1".into());
        assert_eq!(check.found, wrong.into());
        assert!(check.examples[0].contains("held and confirmed"), "{:?}", check.examples);
    }
}

#[test]
fn malformed_type_counts_are_repaired() {
    for wrong in ["x", "7:3", "07:3,5:1", "7:3,5:1,1:1"] {
        let check = audit_and_repair(&["HSET", SALE, "by_type", wrong]);
        assert!(check.examples[0].contains("no list of counts"), "{:?}", check.examples);
    }
    assert_eq!(audit_and_repair(&["HDEL", SALE, "by_type"]).found, "nothing".into());
}

#[test]
fn missing_type_counts_of_an_unsold_sale_are_repaired() {
    let server = RedisServer::start(&[]);
    let mut client = client(&server);
    let types = Types::from_text("adult:30,child:9").unwrap();
    apply(&mut client, vec![Command::Create(SaleSpec { types, ..SaleSpec::with_total(100) })]);
    server.connect().ask(&format!("HDEL {SALE} by_type"));
    let audit = look(&mut client, false);
    assert_eq!(differing(&audit).iter().map(|c| c.name).collect::<Vec<_>>(), ["types"]);
    // A stream without entries could have lost some: the orders show that it has not.
    let how = Repair { orders_seen: true, ..Repair::default() };
    let repaired = client.audit(&ticket(), Some(&how)).expect("an audit").expect("a sale");
    assert!(differing(&repaired).is_empty(), "{:#?}", repaired.checks);
    let first = typed(reserve(1, "ann", ""), "child");
    assert!(matches!(apply(&mut client, vec![first])[0], Outcome::Granted { .. }));
}

#[test]
fn a_reservation_of_an_unknown_type_is_reported() {
    let server = RedisServer::start(&[]);
    let mut client = client(&server);
    let types = Types::from_text("adult:30,child:9").unwrap();
    apply(&mut client, vec![Command::Create(SaleSpec { types, ..SaleSpec::with_total(100) })]);
    apply(&mut client, vec![typed(reserve(1, "ann", ""), "child")]);
    server.connect().ask(&format!("HSET {SALE} types adult:30,dog:9"));
    let audit = look(&mut client, true);
    let left = differing(&audit);
    assert_eq!(left.len(), 1, "{:#?}", audit.checks);
    assert!(left[0].examples.iter().any(|example| example.contains("units of child")));
}
