//! The four buyers, with all answers arriving.

use std::process::Command;

use crate::programs::{
    BUYERS, Said, assert_stands, assert_units, example, folder, run, set_up, url,
};
use crate::server::Server;
use crate::worker::stampede;

/// A buyer's program and its server.
struct Buyer<'a> {
    name: &'a str,
    server: String,
}

impl Buyer<'_> {
    fn run(&self, words: &[&str], environment: &[(&str, &str)]) -> Said {
        println!("{} {words:?} {environment:?}", self.name);
        run(example(self.name, &self.server, words).envs(environment.iter().copied()))
    }
}

#[test]
fn every_buyer_example_reports_the_outcome() {
    for name in BUYERS {
        let server = Server::start(&[
            "--sale",
            "ticket=3,limit=2",
            "--sale",
            "later=5,opens=2030-01-01T00:00:00Z",
            "--sale",
            "over=5,closes=2001-01-01T00:00:00Z",
        ]);
        let buyer = Buyer { name, server: url(&server) };
        let two = [("BUYER", "ann"), ("KEY", "k"), ("QUANTITY", "2")];
        let held = buyer.run(&["buy", "ticket"], &two);
        held.assert_done("held");
        assert_eq!((held.member("quantity").as_str(), held.errors.as_str()), ("2", "key k\n"));
        let id = held.member("id");
        assert_stands(&server, &id, "ann", 2, "held");
        // The same key is the same purchase.
        let again = buyer.run(&["buy", "ticket"], &two);
        again.assert_done("held");
        assert_eq!(again.member("id"), id);
        buyer.run(&["buy", "ticket"], &two[..2]).assert_refused("key_reused");
        let more = buyer.run(&["buy", "ticket"], &[("BUYER", "ann")]);
        more.assert_refused("limit_reached");
        assert_eq!(more.member("limit_per_user"), "2");
        buyer.run(&["buy", "ticket"], &[("BUYER", "bob")]).assert_done("held");
        buyer.run(&["buy", "ticket"], &[("BUYER", "eve")]).assert_refused("sold_out");
        let later = buyer.run(&["buy", "later"], &[("BUYER", "ann")]);
        later.assert_refused("not_open");
        assert_eq!(later.member("opens_at"), "2030-01-01T00:00:00.000Z");
        buyer.run(&["buy", "over"], &[("BUYER", "ann")]).assert_refused("closed");
        buyer.run(&["buy", "none"], &[("BUYER", "ann")]).assert_refused("not_found");
        let none = buyer.run(&["buy", "over"], &[("BUYER", "ann"), ("QUANTITY", "0")]);
        none.assert_refused("invalid");
        assert_eq!(none.member("field"), "quantity");
        assert_units(&server, "ticket", [0, 3, 0]);

        buyer.run(&["show", &id], &[]).assert_done("held");
        buyer.run(&["cancel", &id], &[]).assert_done("cancelled");
        buyer.run(&["cancel", &id], &[]).assert_done("already_cancelled");
        buyer.run(&["show", &id], &[]).assert_done("cancelled");
        assert_stands(&server, &id, "ann", 2, "cancelled");
        // A cancelled purchase is no purchase.
        buyer.run(&["buy", "ticket"], &two).assert_refused("cancelled");
        assert_units(&server, "ticket", [2, 1, 0]);
        assert_units(&server, "later", [5, 0, 0]);

        for wrong in [&[][..], &["buy"], &["sell", "ticket"]] {
            let said = buyer.run(wrong, &[]);
            assert!(said.code == Some(2) && said.errors.starts_with("usage: "), "{said:?}");
        }
    }
}

#[test]
fn every_buyer_example_sends_its_admission_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys.json").display().to_string();
    let (code, said) = stampede(&["token", "new-key", "--keys", &keys]);
    assert_eq!(code, Some(0), "{said}");
    let token = |user: &str, sale: &str| {
        let (code, said) = stampede(&["token", "--keys", &keys, "--user", user, "--sale", sale]);
        assert_eq!(code, Some(0), "{said}");
        said.trim().to_owned()
    };
    let server = Server::start(&["--sale", "ticket=9,limit=2", "--admission-keys", &keys]);
    let (eve, poster) = (token("eve", "ticket"), token("ann", "poster"));
    for (number, name) in BUYERS.into_iter().enumerate() {
        let buyer = Buyer { name, server: url(&server) };
        let user = format!("ann {number}");
        let own = token(&user, "ticket");
        let refused = buyer.run(&["buy", "ticket"], &[("BUYER", "ann")]);
        refused.assert_refused("token_missing");
        buyer.run(&["buy", "ticket"], &[("TOKEN", &poster)]).assert_refused("token_sale");
        let forged = format!("{own}x");
        let refused = buyer.run(&["buy", "ticket"], &[("TOKEN", &forged)]);
        assert!(refused.code == Some(1) && refused.outcome.starts_with("token_"), "{refused:?}");

        let held = buyer.run(&["buy", "ticket"], &[("TOKEN", &own)]);
        held.assert_done("held");
        let id = held.member("id");
        assert_stands(&server, &id, &user, 1, "held");
        buyer.run(&["show", &id], &[("TOKEN", &own)]).assert_done("held");
        buyer.run(&["cancel", &id], &[("TOKEN", &eve)]).assert_refused("not_found");
        buyer.run(&["show", &id], &[]).assert_refused("token_missing");
        assert_stands(&server, &id, &user, 1, "held");
        buyer.run(&["cancel", &id], &[("TOKEN", &own)]).assert_done("cancelled");
        assert_units(&server, "ticket", [9, 0, 0]);
    }
}

/// Runs a module with what a browser's page has, and nothing of Node.
const PAGE: &str = r#"
import { readFileSync } from "node:fs";
import vm from "node:vm";

const { fetch, crypto, AbortSignal, setTimeout } = globalThis;
const page = vm.createContext({ fetch, crypto, AbortSignal, setTimeout });
const source = readFileSync(process.argv[1], "utf8");
const module = new vm.SourceTextModule(source, { context: page });
await module.link((name) => { throw new Error(`it imports ${name}`); });
await module.evaluate();
const { buy, show, cancel } = module.namespace;
const options = { server: process.env.SERVER };
const held = await buy("ticket", { ...options, quantity: 2, user: "ann", key: "page" });
const shown = await show(held.id, options);
const gone = await cancel(held.id, options);
console.log([shown.outcome, `id ${held.id}`, `then ${gone.outcome}`].join("; "));
"#;

#[test]
fn a_web_page_buys_with_the_module() {
    let server = Server::start(&["--sale", "ticket=3"]);
    let mut node = Command::new("node");
    node.args(["--no-warnings", "--experimental-vm-modules", "--input-type=module", "-e", PAGE]);
    let said = run(set_up(node.arg(folder().join("buyer.mjs")), &url(&server)));
    said.assert_done("held");
    assert_eq!(said.member("then"), "cancelled");
    assert_stands(&server, &said.member("id"), "ann", 2, "cancelled");
    assert_units(&server, "ticket", [3, 0, 0]);
}
