//! Our files on Debian's own nginx, step by step as `tuning/README.md` says.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::login::{assert_ann_keeps_to_her_limit, assert_nobody_confirms, id, shop};
use crate::server::Server;
use crate::tuning::{self, text};
use crate::{NO_LIMIT, Nginx, changed, ours, temporary};

/// `/etc/nginx` as Debian's package creates it, in a folder: its `nginx.conf` and its default site.
/// Only addresses and writable paths differ.
fn debian() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = folder.path().display().to_string();
    let copied = Command::new("cp").args(["-a", "/etc/nginx", &at]).status();
    assert!(copied.expect("run cp").success(), "this test needs Debian's nginx in /etc/nginx");
    let nginx = folder.path().join("nginx");
    let edit = |file: &str, changes: &[(&str, &str)]| {
        let file = nginx.join(file);
        let text = changed(fs::read_to_string(&file).expect("a file of Debian's"), changes);
        fs::write(&file, text).expect("write a file");
    };
    let modules = format!("include {at}/nginx/modules-enabled/*.conf;");
    edit(
        "nginx.conf",
        &[
            // Useless, and a warning, unless root runs this.
            ("user www-data;", ""),
            ("pid /run/nginx.pid;", &format!("pid {at}/pid;")),
            ("error_log /var/log/nginx/error.log;", "error_log stderr;"),
            ("include /etc/nginx/modules-enabled/*.conf;", &modules),
            ("http {", &format!("http {{ {}", temporary(folder.path()))),
            ("/etc/nginx/mime.types", &format!("{at}/nginx/mime.types")),
            ("/var/log/nginx/access.log", &format!("{at}/access.log")),
            ("/etc/nginx/conf.d", &format!("{at}/nginx/conf.d")),
            ("/etc/nginx/sites-enabled", &format!("{at}/nginx/sites-enabled")),
        ],
    );
    edit(
        "sites-available/default",
        &[
            ("\tlisten 80 default_server;", &format!("\tlisten unix:{at}/socket default_server;")),
            ("\tlisten [::]:80 default_server;", &format!("\tlisten unix:{at}/v6 default_server;")),
        ],
    );
    let enabled = nginx.join("sites-enabled/default");
    let _ = fs::remove_file(&enabled);
    std::os::unix::fs::symlink(nginx.join("sites-available/default"), enabled).expect("a link");
    folder
}

/// The commands that `tuning/README.md` gives for nginx, before the one that loads it.
fn documented() -> Vec<String> {
    let readme = text("README.md");
    let section = readme.split("\n## nginx\n").nth(1).expect("a section about nginx");
    let lines = section.lines().skip_while(|line| !line.starts_with("    "));
    let commands: Vec<String> =
        lines.map_while(|line| Some(line.strip_prefix("    ")?.to_owned())).collect();
    let last = commands.iter().position(|line| line.starts_with("nginx -t"));
    commands[..last.expect("it is checked and loaded")].to_vec()
}

fn step(at: &Path, command: &str) {
    let command = command
        .replace("/etc/nginx", &at.join("nginx").display().to_string())
        .replace("tuning/nginx", &tuning::folder().join("nginx").display().to_string());
    let done = Command::new("sh").args(["-ec", &command]).status().expect("run sh");
    assert!(done.success(), "{command}");
}

#[test]
fn the_documented_debian_set_up_enforces_limits() {
    // This server would accept what nginx lets through.
    let server = Server::start(&["--sale", "ticket=9,limit=1", "--public-confirm"]);
    let folder = debian();
    let at = folder.path();
    let (site, file) = (at.join("nginx/conf.d/stampede.conf"), at.join("nginx/nginx.conf"));
    // With Debian's site still there nginx reports what is wrong, and sends it no buyers.
    fs::write(&site, ours(at, &[server.address()], NO_LIMIT)).expect("write a file");
    let (well, said) = Nginx::check(&file);
    assert!(!well && said.contains("a duplicate default server"), "{said}");
    fs::remove_file(&site).expect("remove a file");

    for command in documented() {
        step(at, &command);
    }
    // The addresses of this test are set; the login is there.
    assert_eq!(fs::read_to_string(&site).expect("the site"), text("nginx/stampede.conf"));
    let login = at.join("nginx/snippets/stampede-login.conf");
    let ask_shop = [("127.0.0.1:8080", &*shop().to_string())];
    fs::write(&login, changed(text("nginx/stampede-login.conf"), &ask_shop)).expect("write a file");
    let include =
        ("# include snippets/stampede-login.conf;", "include snippets/stampede-login.conf;");
    let with_login = changed(ours(at, &[server.address()], NO_LIMIT), &[include]);
    fs::write(&site, with_login).expect("write a file");

    let nginx = Nginx::run(folder, &file);
    let ask = |line: &str, more: &str| nginx.ask(line, more);
    assert_ann_keeps_to_her_limit(&ask, "Cookie: session=ann\r\n");
    let made = ask("GET /buy/ticket", "Cookie: session=cat\r\n\r\n");
    assert_nobody_confirms(&ask, "Cookie: session=cat\r\n", id(&made));
}
