//! SIGHUP: keys and limits that change, and files that cannot be used.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use stampede::admission::Algorithm;

use crate::client::Client;
use crate::server::{ANSWER_DEADLINE, Server};
use crate::shop::{Shop, bearer, buy, code, set};

/// Has the server read its settings again, and waits until the log has one more such line.
fn reload(server: &Server, said: &str) {
    let count = || server.log().matches(said).count();
    let before = count();
    server.signal(Signal::HUP);
    let until = Instant::now() + ANSWER_DEADLINE;
    while count() == before {
        assert!(Instant::now() < until, "{said}: {}", server.log());
        thread::sleep(Duration::from_millis(10));
    }
}

/// Asks until the answer is this: a core learns of new keys at its next tick.
fn becomes(client: &mut Client, headers: &str, want: (u16, i64)) {
    let until = Instant::now() + ANSWER_DEADLINE;
    loop {
        let told = code(&buy(client, headers));
        if told == want {
            return;
        }
        assert!(Instant::now() < until, "{told:?} is not {want:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn keys_are_rotated_without_a_restart() {
    let (old, new) = ((Algorithm::Hs256, "2030", 1), (Algorithm::EdDsa, "2031", 2));
    let mut shop = Shop::with(&set(&[old]));
    let server = Server::start(&shop.options(&["--sale", "ticket=1000"]));
    let mut client = Client::new(&server);
    let by_old = bearer(&shop.token("2030", "ann"));
    assert_eq!(code(&buy(&mut client, &by_old)), (200, 1));
    shop.change(&set(&[old, new]));
    let by_new = bearer(&shop.token("2031", "ann"));
    assert_eq!(code(&buy(&mut client, &by_new)), (401, -23));
    reload(&server, "settings reloaded changed=\"admission-keys\"");
    becomes(&mut client, &by_new, (200, 1));
    assert_eq!(code(&buy(&mut client, &by_old)), (200, 1));
    // A removed key ends its tokens, also those that were verified before.
    shop.change(&set(&[new]));
    reload(&server, "settings reloaded changed=\"admission-keys\"");
    becomes(&mut client, &by_old, (401, -23));
    assert_eq!(code(&buy(&mut client, &by_new)), (200, 1));
}

#[test]
fn a_key_file_without_keys_changes_nothing() {
    let shop = Shop::new();
    let server = Server::start(&shop.options(&["--sale", "ticket=1000"]));
    let mut client = Client::new(&server);
    let ann = bearer(&shop.token("hs", "ann"));
    assert_eq!(code(&buy(&mut client, &ann)), (200, 1));
    std::fs::write(shop.file(), json!({ "keys": [] }).to_string()).unwrap();
    reload(&server, "settings not usable; kept the old ones");
    assert!(server.log().contains("must have 1 to 32 keys, and has 0"), "{}", server.log());
    assert_eq!(code(&buy(&mut client, &ann)), (200, 1));
    assert_eq!(code(&buy(&mut client, "")), (401, -20));
}

#[test]
fn limits_and_admission_can_be_switched_at_a_reload() {
    let shop = Shop::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    let keys = shop.file().display().to_string();
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("");
    let options = ["--sale", "ticket=1000", "--config", file.path().to_str().unwrap()];
    let server = Server::start(&options);
    let mut client = Client::new(&server);
    assert_eq!(code(&buy(&mut client, "")), (200, 1));
    write(&format!("admission-keys = {keys:?}\nrate-per-user = '1/3'\n"));
    reload(&server, "settings reloaded changed=\"admission-keys, rate-per-user\"");
    becomes(&mut client, "", (401, -20));
    let ann = bearer(&shop.token("ed", "ann"));
    becomes(&mut client, &ann, (429, -12));
    write("rate-per-user = 'off'\n");
    reload(&server, "settings reloaded changed=\"admission-keys, rate-per-user\"");
    becomes(&mut client, "", (200, 1));
}

#[test]
fn a_world_readable_key_file_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let shop = Shop::new();
    std::fs::set_permissions(shop.file(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let server = Server::start(&shop.options(&[]));
    let log = server.log();
    assert!(log.contains("every user of this machine can read the secrets in"), "{log}");
    assert!(log.contains("has the private part (d) of ed"), "{log}");
    std::fs::set_permissions(shop.file(), std::fs::Permissions::from_mode(0o600)).unwrap();
    let log = Server::start(&shop.options(&[])).log();
    assert!(!log.contains("every user of this machine"), "{log}");
}
