//! Removes secrets from an operator's texts before they are shown or logged.

/// A text that may be a ledger's URL, however malformed, without anything that may be a password:
/// the text before the last `@` except the user, and the values of its parameters.
pub(crate) fn redacted(text: &str) -> String {
    if text.starts_with("embedded:") {
        return text.to_owned();
    }
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['@', ':']) => (format!("{scheme}://"), rest),
        _ => (String::new(), text),
    };
    let (user, place) = match rest.rsplit_once('@') {
        Some((login, place)) => match login.split_once(':') {
            Some((user, _)) => (format!("{user}:***@"), place),
            None => ("***@".into(), place),
        },
        None => (String::new(), rest),
    };
    let (place, query) = match place.split_once(['?', '#']) {
        Some((place, _)) => (place, "?***"),
        None => (place, ""),
    };
    // Without an `@`, a text that looks like host and port may be a login.
    let authority = place.split('/').next().unwrap_or_default();
    let several = scheme.ends_with("-sentinel://") || scheme.ends_with("-cluster://");
    let mut hosts = authority.split(|c| c == ',' && several);
    let doubtful = |host: &&str| match host.split_once(':') {
        Some((host, port)) => !host.starts_with('[') && !port.bytes().all(|b| b.is_ascii_digit()),
        None => false,
    };
    match hosts.find(doubtful).and_then(|host| host.split_once(':')) {
        Some((host, _)) => format!("{scheme}{user}{host}:***"),
        None => format!("{scheme}{user}{place}{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_never_shown() {
        for (url, shown) in [
            ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
            ("redis://[::1]:6379", "redis://[::1]:6379"),
            ("rediss://user:hunter2@host", "rediss://user:***@host"),
            ("redis://:hunter2@host:1/2", "redis://:***@host:1/2"),
            ("redis://hunter2@host", "redis://***@host"),
            ("redis://user:hun/ter@hunter2@host", "redis://user:***@host"),
            ("redis://user:hunter2", "redis://user:***"),
            ("redis-sentinel://a:1,[::1]:2,b/m/0", "redis-sentinel://a:1,[::1]:2,b/m/0"),
            ("rediss-cluster://u:hunter2@a:1,b:2", "rediss-cluster://u:***@a:1,b:2"),
            ("redis-sentinel://a:1,user:hunter2/m", "redis-sentinel://user:***"),
            ("redis://user:1,hunter2", "redis://user:***"),
            ("redis://user:hunter2#/0", "redis://user:***"),
            ("redis:user:hunter2", "redis:***"),
            ("redis://host/0?password=hunter2", "redis://host/0?***"),
            ("reddis://user:hunter2@host", "reddis://user:***@host"),
            ("user:hunter2@host:6379", "user:***@host:6379"),
            ("redis:user:hunter2@host", "redis:***@host"),
            ("embedded:./a@b", "embedded:./a@b"),
        ] {
            assert_eq!(redacted(url), shown, "{url}");
        }
    }
}
