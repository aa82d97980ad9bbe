//! The programs of `examples/`, run against a real server as their README says, and the ledger's
//! content afterwards.

#[allow(dead_code)] // Each test program takes what it needs of the support.
#[path = "../support/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "../support/redis.rs"]
mod redis_server;
#[allow(dead_code)]
#[path = "../support/server.rs"]
mod server;
#[allow(dead_code)]
#[path = "../orders/shop.rs"]
mod worker;

mod buyers;
mod cart;
mod lost;
mod programs;
mod shop;
mod webhooks;

use stampede::sale::SaleId;

fn sale(id: &str) -> SaleId {
    SaleId::new(id).expect("a sale id")
}

/// Each is short enough to be read at once, and each is in the table.
#[test]
fn examples_are_short_and_listed() {
    let table = programs::text("README.md");
    for entry in std::fs::read_dir(programs::folder()).expect("the folder") {
        let name = entry.expect("a file").file_name().into_string().expect("a name");
        if name == "README.md" || name == "__pycache__" {
            continue;
        }
        let lines = programs::text(&name).lines().count();
        assert!(lines < 100, "{name} has {lines} lines");
        assert!(table.contains(&format!("[`{name}`]({name})")), "README.md lacks {name}");
    }
}
