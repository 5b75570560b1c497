//! A small HTTP/1.1 client for one connection, on hyper: what verification asks through.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::error::ServeError;

/// How long one answer may take.
const TIME_MAX: Duration = Duration::from_secs(120);

/// One connection, kept alive.
pub(crate) struct Client {
    address: SocketAddr,
    key: Option<String>,
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    /// Connects. A server that listens on every address is reached on loopback.
    pub(crate) async fn connect(mut address: SocketAddr, key: Option<&str>) -> Result<Self, ServeError> {
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        let stream = TcpStream::connect(address).await.map_err(|error| ask(address, &error))?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| ask(address, &error))?;
        // Ends with the sender; its errors reach the request that is under way.
        tokio::spawn(connection);
        Ok(Self { address, key: key.map(str::to_owned), sender })
    }

    /// Sends one request and reads the whole answer.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(StatusCode, Bytes), ServeError> {
        let address = self.address;
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, address.to_string());
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = Full::new(Bytes::from(body.unwrap_or_default()));
        let request = request.body(body).map_err(|error| ask(address, &error))?;
        let answer = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            Ok::<_, hyper::Error>((status, response.into_body().collect().await?.to_bytes()))
        };
        match tokio::time::timeout(TIME_MAX, answer).await {
            Ok(answer) => answer.map_err(|error| ask(address, &error)),
            Err(_) => Err(ask(address, &format!("no answer within {} s", TIME_MAX.as_secs()))),
        }
    }

    /// Sends one request and reads the JSON of an answer that must be 200.
    pub(crate) async fn json<T: serde::de::DeserializeOwned>(
        &mut self,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<T, ServeError> {
        let (status, body) = self.send(method, path, body).await?;
        if status != StatusCode::OK {
            let text: String = String::from_utf8_lossy(&body).chars().take(400).collect();
            return Err(ask(self.address, &format!("{method} {path} gave {status}: {text}")));
        }
        serde_json::from_slice(&body)
            .map_err(|error| ask(self.address, &format!("{method} {path} gave no JSON of the protocol: {error}")))
    }
}

fn ask(address: SocketAddr, error: &dyn std::fmt::Display) -> ServeError {
    ServeError::Ask { address, message: error.to_string() }
}
