//! `stampede token`: an independent library accepts its tokens, and wrong arguments change no file.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use stampede::admission::{Admission, Algorithm, KeySet, NewKey};

struct Told {
    code: i32,
    out: String,
    err: String,
}

fn token(arguments: &[&str]) -> Told {
    let output = Command::new(env!("CARGO_BIN_EXE_stampede"))
        .arg("token")
        .args(arguments)
        .output()
        .expect("the command runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8").trim_end().to_owned();
    Told {
        code: output.status.code().expect("an exit code"),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

fn good(arguments: &[&str]) -> String {
    let told = token(arguments);
    assert_eq!((told.code, &*told.err), (0, ""), "{arguments:?}");
    told.out
}

fn json_of(file: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(file).expect("a file")).expect("JSON")
}

/// PyJWT's result for a token with the keys of this file: header and claims.
fn py_jwt(keys: &Path, token: &str) -> Value {
    let program = "\
import json, jwt, sys
keys = jwt.PyJWKSet.from_dict(json.load(open(sys.argv[1])))
header = jwt.get_unverified_header(sys.argv[2])
key, = [key for key in keys.keys if key.key_id == header['kid']]
claims = jwt.decode(sys.argv[2], key.key, algorithms=[header['alg']], audience='shop.example')
print(json.dumps([header, claims]))
";
    let output = Command::new("/usr/bin/python3")
        .args(["-c", program, &keys.display().to_string(), token])
        .output()
        .expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn another_library_accepts_the_minted_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.json");
    let file = keys.to_str().unwrap();
    let secret = good(&["new-key", "--keys", file]);
    assert_eq!(good(&["new-key", "--keys", file, "--alg", "EdDSA", "--kid", "shop-2"]), "shop-2");
    let mode = std::fs::metadata(&keys).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // As a server has it that only verifies.
    let public = folder.path().join("public.json");
    std::fs::write(&public, good(&["public-keys", "--keys", file])).unwrap();
    assert!(json_of(&keys)["keys"][1]["d"].is_string());
    assert_eq!(json_of(&public)["keys"][1].get("d"), None);
    let ask = ["--keys", file, "--user", "张三", "--audience", "shop.example", "--ttl", "1h"];
    for (kid, algorithm) in [(&*secret, "HS256"), ("shop-2", "EdDSA")] {
        let more = ["--kid", kid, "--sale", "ticket", "--sale", "poster", "--max", "2"];
        let minted = good(&[&ask[..], &more].concat());
        let told = py_jwt(&public, &minted);
        assert_eq!(told[0], json!({ "alg": algorithm, "kid": kid, "typ": "JWT" }));
        let claims = &told[1];
        assert_eq!(claims["sub"], "张三");
        assert_eq!(claims["sales"], json!(["ticket", "poster"]));
        assert_eq!((&claims["aud"], &claims["max"]), (&json!("shop.example"), &json!(2)));
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let (nbf, exp) = (claims["nbf"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
        assert!(nbf <= now_s && exp > now_s + 3000 && exp <= now_s + 3601, "{claims}");
    }
    // Without a named key, the last key that can sign signs.
    let minted = good(&[&ask[..], &["--sale", "ticket"]].concat());
    assert_eq!(py_jwt(&keys, &minted)[0]["kid"], "shop-2");
    assert_eq!(py_jwt(&keys, &minted)[1].get("max"), None);
}

/// The indented lines that follow this line of the page.
fn lines_of_the_page(after: &str) -> String {
    let page = include_str!("../../docs/admission.md");
    let (_, rest) = page.split_once(after).expect("it is on the page");
    let lines = rest.lines().skip(1).skip_while(|line| line.is_empty());
    lines.map_while(|line| line.strip_prefix("    ")).collect::<Vec<_>>().join("\n")
}

/// The output of a program for this input.
fn run(program: &str, text: &str) -> String {
    let output = Command::new(program).args(["-c", text]).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

#[test]
fn the_documented_snippets_mint_valid_tokens() {
    let secret = [7; 32];
    let key = NewKey::of(Algorithm::Hs256, "k-1", &secret).expect("a key").private;
    let keys = KeySet::parse(json!({ "keys": [key] }).to_string().as_bytes()).expect("keys");
    let admission = Admission { keys, audience: "stampede".into() };
    let hexadecimal: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let shell = lines_of_the_page("Any shell, with nothing but `openssl`");
    let shell = format!("SECRET={hexadecimal}\n{shell}\necho $TOKEN");
    let python = lines_of_the_page("Python ([PyJWT]");
    let python = format!("SECRET = bytes([7] * 32)\n{python}\nprint(token('ann'))");
    for (program, text) in [("sh", shell), ("/usr/bin/python3", python)] {
        let token = run(program, &text);
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let pass = admission.check(token.as_bytes(), now_ms).expect(&token);
        assert_eq!((pass.user.as_str(), pass.check_sale("ticket")), ("ann", Ok(())), "{program}");
    }
}

#[test]
fn wrong_usage_is_reported_and_changes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (file, public) = (path("keys.json"), path("public.json"));
    good(&["new-key", "--keys", &file, "--kid", "a", "--alg", "EdDSA"]);
    std::fs::write(&public, good(&["public-keys", "--keys", &file])).unwrap();
    std::fs::write(path("text"), "secret-text").unwrap();
    let before = std::fs::read(&file).unwrap();
    let ask = |keys: &str, more: &[&str]| {
        token(&[&["--keys", keys, "--user", "u", "--sale", "s"], more].concat())
    };
    for (told, code, said) in [
        (token(&["new-key", "--keys", &file, "--kid", "a"]), 1, "another key has this kid"),
        (token(&["new-key", "--keys", &file, "--kid", "a b"]), 1, "a kid is 1 to 64"),
        (token(&["new-key", "--keys", &file, "--alg", "none"]), 2, "must be HS256 or EdDSA"),
        (token(&["new-key", "--keys", &path("no/folder")]), 1, "can't be written"),
        (token(&["new-key", "--keys", &path("text")]), 1, "must be a JSON Web Key Set"),
        (token(&["public-keys", "--keys", &path("none")]), 1, "can't be read"),
        (token(&["new-key"]), 2, "--keys"),
        (token(&[]), 2, "--user"),
        (ask(&path("none"), &[]), 1, "can't be read"),
        (ask(&file, &["--kid", "b"]), 1, "there is no key b"),
        (ask(&public, &["--kid", "a"]), 1, "has no private part"),
        (ask(&public, &[]), 1, "no key of the file can sign"),
        (ask(&file, &["--ttl", "2d"]), 2, "--ttl: must be from 1s to 1d"),
        (ask(&file, &["--max", "0"]), 2, "--max: must be a whole number"),
        (ask(&file, &["--sale", "S"]), 2, "a sale id is"),
        (ask(&file, &["--audience", ""]), 2, "--audience: must have 1 to 256 bytes"),
        (ask(&file, &["--user", ""]), 2, "cannot be used multiple times"),
        (token(&["--keys", &file, "--user", "", "--sale", "s"]), 2, "--user: a user is"),
    ] {
        assert_eq!((told.code, &*told.out), (code, ""), "{said}: {}", told.err);
        assert!(told.err.contains(said), "{said}: {}", told.err);
        assert!(!told.err.contains("secret-text"), "{}", told.err);
    }
    assert_eq!(std::fs::read(&file).unwrap(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "nothing is left behind");
}
