//! What the peers on tokio and axum share.
//!
//! In their favour: a core's runtime has one thread and a listening socket of its own, so nothing
//! moves between cores; and connections are served as axum's TechEmpower entry does it, by hyper with
//! `pipeline_flush`, without which each of several pipelined answers would be a system call. (It keeps
//! answers back while a part of another request is there, so a server for the world would not.)

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

/// Until an accept is tried again that failed for lack of descriptors.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);

/// Runs one core's work on a runtime of this thread.
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
            // What is open goes on.
            tokio::time::sleep(SHORTAGE_PAUSE).await;
            continue;
        };
        let app = TowerToHyperService::new(app.clone());
        let tls = tls.clone();
        tokio::spawn(async move {
            let mut http = http1::Builder::new();
            let http = http.pipeline_flush(true);
            // An error is a client that is gone.
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

/// A 200 with the headers that the others send too; hyper adds `Date` and `Content-Length`.
pub fn answer(content: Content, body: impl IntoResponse) -> Response {
    ([(SERVER, "axum"), (CONTENT_TYPE, content.content_type())], body).into_response()
}
