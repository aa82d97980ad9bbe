//! nginx's configuration: fills in the templates of `bench/peers` and writes them into a folder.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use crate::error::{Because, Result, fail};
use crate::secure::Certificate;

/// nginx's Lua module, where Debian and Ubuntu have it.
pub const LUA_MODULE: &str = "/usr/lib/nginx/modules/ngx_http_lua_module.so";
/// The module that the Lua module needs.
pub const NDK_MODULE: &str = "/usr/lib/nginx/modules/ndk_http_module.so";

/// nginx's stream module, where Debian and Ubuntu have it.
pub const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

const PLAIN: &str = include_str!("../../peers/nginx.conf");
const PROXY: &str = include_str!("../../peers/nginx_proxy.conf");
const STREAM: &str = include_str!("../../peers/nginx_stream.conf");
const LUA: &str = include_str!("../../peers/nginx_lua.conf");
const TICKET: &str = include_str!("../../peers/ticket.lua");

/// Writes the configuration of an nginx that answers from its configuration.
pub fn write_plain(
    folder: &Path,
    listen: SocketAddr,
    cores: &[usize],
    tls: Option<&Certificate>,
) -> Result<()> {
    let (listens, settings) = spoken(tls)?;
    write(folder, PLAIN, listen, cores, &[("ssl", listens), ("tls", &settings)])
}

/// Writes the configuration of an nginx in front of a server: `host:port` or `unix:PATH`.
pub fn write_proxy(
    folder: &Path,
    listen: SocketAddr,
    core: usize,
    upstream: &str,
    tls: Option<&Certificate>,
) -> Result<()> {
    let (listens, settings) = spoken(tls)?;
    let more = [("upstream", upstream), ("ssl", listens), ("tls", &*settings)];
    write(folder, PROXY, listen, &[core], &more)
}

/// Writes the configuration of an nginx that passes connections on to a server, `host:port`.
pub fn write_stream(folder: &Path, listen: SocketAddr, core: usize, upstream: &str) -> Result<()> {
    let more = [("upstream", upstream), ("stream", STREAM_MODULE)];
    write(folder, STREAM, listen, &[core], &more)
}

/// What stands behind the address, and what else in a server's block: the versions of Debian's own
/// `nginx.conf`, and sessions that all workers know.
fn spoken(tls: Option<&Certificate>) -> Result<(&'static str, String)> {
    let Some(certificate) = tls else { return Ok(Default::default()) };
    // nginx resolves relative paths in its own folder.
    let absolute = |path| std::path::absolute(path).because(|| "finding the folder".into());
    let (file, key) = (absolute(&certificate.file)?, absolute(&certificate.key)?);
    let (file, key) = (file.display(), key.display());
    let settings = format!(
        "ssl_certificate {file};\n        ssl_certificate_key {key};\n        \
         ssl_protocols TLSv1.2 TLSv1.3;\n        ssl_session_cache shared:tls:10m;"
    );
    Ok((" ssl", settings))
}

/// Writes the configuration and the code of an nginx that answers by Lua, and sells from a Redis
/// with the scripts of these SHAs, the second for orders. Without: it has nothing to sell.
pub fn write_lua(
    folder: &Path,
    listen: SocketAddr,
    cores: &[usize],
    redis: Option<(SocketAddr, [&str; 2])>,
) -> Result<()> {
    let redis = redis
        .map(|(at, [sell, order])| format!("'{}', {}, '{sell}', '{order}'", at.ip(), at.port()));
    let redis = redis.unwrap_or_default();
    write(
        folder,
        LUA,
        listen,
        cores,
        &[("ndk", NDK_MODULE), ("lua", LUA_MODULE), ("redis", &redis)],
    )?;
    let path = folder.join("ticket.lua");
    fs::write(&path, TICKET).because(|| format!("writing {}", path.display()))
}

fn write(
    folder: &Path,
    template: &str,
    listen: SocketAddr,
    cores: &[usize],
    more: &[(&str, &str)],
) -> Result<()> {
    // SAFETY: takes nothing and can't fail.
    let root = unsafe { libc::geteuid() } == 0;
    // Workers run as who starts them: only root would change to another user.
    let user = if root { "user root;" } else { "" };
    let (listen, processes) = (listen.to_string(), processes(cores));
    let values = [("listen", &*listen), ("processes", &*processes), ("user", user)];
    let mut text = template.to_owned();
    for (name, value) in values.iter().chain(more) {
        text = text.replace(&format!("{{{{{name}}}}}"), value);
    }
    if let Some((_, rest)) = text.split_once("{{") {
        let name = rest.split("}}").next().unwrap_or_default();
        return fail(format!("nginx's template has an unknown placeholder {name}"));
    }
    fs::create_dir_all(folder).because(|| format!("creating {}", folder.display()))?;
    let path = folder.join("nginx.conf");
    fs::write(&path, text).because(|| format!("writing {}", path.display()))
}

/// One process on one core, which spares it the master; else a worker on each core, under one.
fn processes(cores: &[usize]) -> String {
    if cores.len() == 1 {
        return "master_process off;".into();
    }
    // One mask per worker, with core 0 on the right.
    let masks: String = cores.iter().map(|&core| format!(" 1{}", "0".repeat(core))).collect();
    format!("worker_processes {};\nworker_cpu_affinity{masks};", cores.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_core_has_its_worker() {
        assert_eq!(processes(&[3]), "master_process off;");
        assert_eq!(processes(&[0, 2]), "worker_processes 2;\nworker_cpu_affinity 1 100;");
    }
}
