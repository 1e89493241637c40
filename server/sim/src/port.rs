//! The simulated accounts on a port of plain HTTP, for any AWS client: Systems Manager, EC2 and STS at every path, and
//! those of `/_sim/` for whoever plays fate (`control.rs`).

use crate::{Simulation, control, travel::Sent};
use aws_smithy_async::rt::sleep::AsyncSleep as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{io, pin::pin, time::Duration};
use tokio::{net::TcpListener, task::JoinSet};

/// More than any request of AWS's may have.
const LARGEST_BODY: usize = 4 << 20;

impl Simulation {
    /// Answers on the port until `stop`; connections end with it. A fault that breaks a connection does so here as well: the
    /// client sees it closed without an answer, whether or not its request took effect.
    pub async fn serve(&self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = &mut stop => return,
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            // Without a free handle there is no connection yet: later, perhaps.
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let simulation = self.clone();
            connections.spawn(async move {
                stream.set_nodelay(true).ok();
                let service = service_fn(move |request| answer(simulation.clone(), request));
                // What a client does to its connection is its own affair.
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
            });
        }
    }
}

async fn answer(simulation: Simulation, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Ok(too_large()),
        Err(_) => return Err(closed()),
    };
    let request = Request::from_parts(parts, body);
    if let Some(path) = request.uri().path().strip_prefix("/_sim/") {
        let (status, answer) = control::answer(&simulation, request.method(), path, request.body());
        let mut response = Response::new(Full::from(answer.to_string()));
        *response.status_mut() = status;
        let json = http::HeaderValue::from_static("application/json");
        response.headers_mut().insert(http::header::CONTENT_TYPE, json);
        return Ok(response);
    }
    let response = match simulation.send(request) {
        Sent::Answered(response) => response,
        Sent::Refused | Sent::Broken => return Err(closed()),
        Sent::Late(response, wait) => {
            simulation.clock().sleep(wait).await;
            response
        }
        // On its own feet: it arrives at its time even if its sender hangs up.
        Sent::Travelling(ticket, wait) => {
            let arrival = tokio::spawn(async move { simulation.arrival(ticket, wait).await });
            arrival.await.ok().flatten().ok_or_else(closed)?
        }
    };
    Ok(response.map(Full::new))
}

fn too_large() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(r#"{"__type":"RequestEntityTooLargeException"}"#));
    *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    response
}

fn closed() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionAborted)
}
