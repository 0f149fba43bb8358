//! `/metrics`, `/healthz`, `/readyz`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};

use crate::health::Health;
use crate::metrics::{PipelineMetrics, text_of};
use crate::stop::Stop;

/// What the endpoints show.
#[derive(Clone)]
pub struct Shown {
    /// Thread states.
    pub health: Arc<Health>,
    /// Counters of each pipeline.
    pub metrics: Vec<Arc<PipelineMetrics>>,
}

/// A server that could not be started.
#[derive(Debug, thiserror::Error)]
#[error("http.listen `{address}`: {cause}; choose a free port, 0 for any, or \"\" to turn it off")]
pub struct HttpError {
    address: String,
    cause: String,
}

/// Serves until a stop is asked for; returns once the port is open.
pub fn serve(address: &str, shown: Shown, stop: Stop) -> Result<SocketAddr, HttpError> {
    let failed = |e: std::io::Error| HttpError { address: address.to_owned(), cause: e.to_string() };
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let thread = std::thread::Builder::new().name("http".into()).spawn(move || {
        if let Err(error) = runtime.block_on(run(listener, shown, stop)) {
            tracing::error!(%error, "http server ended");
        }
    });
    thread.map_err(failed)?;
    Ok(bound)
}

async fn run(listener: std::net::TcpListener, shown: Shown, stop: Stop) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let asked = async move {
        while !stop.requested() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    axum::serve(listener, routes(shown)).with_graceful_shutdown(asked).await
}

fn routes(shown: Shown) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(shown)
}

async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    match text_of(shown.metrics.iter().map(|metrics| &**metrics)) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Whether the process should be kept: 503 where a thread failed for good.
async fn healthz(State(shown): State<Shown>) -> impl IntoResponse {
    answer(shown.health.alive(), &shown.health)
}

/// Whether every thread polls and no partition stands still; says why where one does not.
async fn readyz(State(shown): State<Shown>) -> impl IntoResponse {
    answer(shown.health.ready(), &shown.health)
}

fn answer(ok: bool, health: &Health) -> (StatusCode, Json<serde_json::Value>) {
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(serde_json::json!({ "ok": ok, "threads": health.threads(), "paused": health.paused() })))
}
