//! Shared parts of the peers on tokio and axum.
//!
//! In their favour: each core's runtime has one thread and its own listening socket, so nothing moves
//! between cores. hyper serves connections with `pipeline_flush`, as in axum's TechEmpower entry.
//! Without it, each of several pipelined answers would be a system call. (It delays answers while a
//! part of another request is buffered, so a public server would not use it.)

use std::future::Future;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::{CONTENT_TYPE, SERVER};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use crate::answer::Content;
use crate::error::{Because, Result};

/// Pause after an accept that failed for lack of descriptors.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);

/// Runs a core's work on a runtime of this thread.
pub fn run(work: impl Future<Output = Result<()>>) -> Result<()> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().because(|| "starting a tokio runtime".into())?.block_on(work)
}

/// Serves all connections of a listening socket, over TLS if there are settings for it.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    tls: Option<Arc<ServerConfig>>,
) -> Result<()> {
    let tls = tls.map(TlsAcceptor::from);
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Open connections go on.
            tokio::time::sleep(SHORTAGE_PAUSE).await;
            continue;
        };
        let app = TowerToHyperService::new(app.clone());
        let tls = tls.clone();
        tokio::spawn(async move {
            let mut http = http1::Builder::new();
            let http = http.pipeline_flush(true);
            // An error is a disconnected client.
            let _ = match tls {
                None => http.serve_connection(TokioIo::new(stream), app).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => http.serve_connection(TokioIo::new(stream), app).await,
                    Err(_) => Ok(()),
                },
            };
        });
    }
}

/// A 200 with the headers of the other servers. hyper adds `Date` and `Content-Length`.
pub fn answer(content: Content, body: impl IntoResponse) -> Response {
    ([(SERVER, "axum"), (CONTENT_TYPE, content.content_type())], body).into_response()
}
