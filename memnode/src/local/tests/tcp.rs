//! The API on TCP: who gets in, and what everybody else gets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use memproto::ErrorCode;
use memproto::local::request::HelloRequest;
use memproto::local::{FrameHeader, HELLO_LEN_MAX, Op, Output, PREFACE};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::fake::Fake;
use crate::home::Home;
use crate::local::json::FIRST_LINE_MAX;
use crate::local::tcp::{Opening, STRANGERS_MAX, opening};
use crate::local::{API_PORT_DEFAULT, ApiPort, ConnectionGauge, TcpApi, TcpConfig};
use crate::token::Token;

pub(super) const TOKEN: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

const WRONG_TOKEN: &str = "10112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// The token [`TOKEN`].
pub(super) fn token() -> Token {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path().join("home")).unwrap();
    let _ = Token::load_or_create(&home).unwrap();
    std::fs::write(home.token_file(), TOKEN).unwrap();
    Token::load_or_create(&home).unwrap()
}

fn config(port: ApiPort) -> TcpConfig {
    TcpConfig {
        listen: Ipv4Addr::LOCALHOST.into(),
        port,
        connections_max: 100,
    }
}

/// The API of a fake node on a free port.
pub(super) struct Api {
    address: SocketAddr,
    fake: Arc<Fake>,
    gauge: ConnectionGauge,
    stop: CancellationToken,
}

impl Api {
    pub(super) async fn start() -> Self {
        Self::with(config(ApiPort::Port(0))).await
    }

    async fn with(config: TcpConfig) -> Self {
        let gauge = ConnectionGauge::default();
        let api = TcpApi::bind(&config, token(), gauge.clone())
            .await
            .unwrap()
            .unwrap();
        let (address, fake, stop) = (api.address(), Arc::new(Fake::new()), CancellationToken::new());
        tokio::spawn(api.serve(Arc::clone(&fake), stop.clone()));
        Self {
            address,
            fake,
            gauge,
            stop,
        }
    }

    pub(super) async fn connect(&self) -> Visitor {
        Visitor(BufReader::new(TcpStream::connect(self.address).await.unwrap()))
    }

    async fn greeted(&self) -> Visitor {
        let mut program = self.connect().await;
        program.write(&hello_line(TOKEN)).await;
        assert_eq!(program.read().await.unwrap()["id"], 1);
        program
    }

    /// Sends this alone, and returns all that comes until the node closes.
    async fn refusal(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        assert!(self.fake.keys.lock().unwrap().is_empty());
        assert!(self.fake.blocks.lock().unwrap().is_empty());
        all
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Somebody who connected and speaks lines.
pub(super) struct Visitor(BufReader<TcpStream>);

impl Visitor {
    pub(super) async fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// The next line, or `None` at the end.
    pub(super) async fn read(&mut self) -> Option<Value> {
        let mut line = String::new();
        // A connection that is dropped with bytes unread ends so.
        let read = self.0.read_line(&mut line).await.unwrap_or(0);
        (read > 0).then(|| serde_json::from_str(&line).unwrap())
    }
}

fn hello_line(token: &str) -> Vec<u8> {
    format!("{}\n", json!({"id": 1, "op": "hello", "token": token})).into_bytes()
}

fn native_hello(token: &str) -> Vec<u8> {
    let hello = HelloRequest {
        version_min: 1,
        version_max: 1,
        name: "test",
        token,
    };
    let mut output = Output::default();
    output.raw(&PREFACE);
    output.frame_copied(FrameHeader::new(Op::Hello, 1), |out| hello.encode(out), &[]);
    output.to_vec()
}

/// The one line of a refusal.
fn code_of(refusal: &[u8]) -> String {
    assert_eq!(
        refusal.iter().filter(|byte| **byte == b'\n').count(),
        1,
        "not one line: {}",
        String::from_utf8_lossy(refusal)
    );
    let line: Value = serde_json::from_slice(refusal).unwrap();
    assert_eq!(line["id"], Value::Null);
    line["error"]["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn web_pages_are_refused_with_one_line() {
    let api = Api::start().await;
    // The body is what a page would want the node to read as requests. It has the token even.
    let body = [
        hello_line(TOKEN),
        b"{\"id\":2,\"op\":\"set\",\"key\":\"k\",\"text\":\"v\"}\n".to_vec(),
    ]
    .concat();
    let port = api.address.port();
    for head in [
        format!(
            "POST / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: text/plain\r\nContent-Length: 200\r\n\r\n"
        ),
        format!("GET / HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"),
        // A name of the attacker's that now resolves to this host.
        format!("GET /keys HTTP/1.1\r\nHost: evil.example:{port}\r\nOrigin: http://evil.example\r\n\r\n"),
        format!("POST / HTTP/1.1\r\nHost: evil.example:{port}\r\nContent-Length: 200\r\n\r\n"),
        format!("OPTIONS * HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://evil.example\r\n\r\n"),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "MKCOL /x HTTP/1.1\r\n\r\n".to_owned(),
        "M-SEARCH * HTTP/1.1\r\n\r\n".to_owned(),
    ] {
        let refusal = api.refusal(&[head.as_bytes(), &body].concat()).await;
        assert_eq!(code_of(&refusal), "denied", "{head}");
        assert!(String::from_utf8_lossy(&refusal).contains("does not speak HTTP"));
    }
}

#[tokio::test]
async fn what_is_neither_protocol_is_refused() {
    let api = Api::start().await;
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\n",
        b" {\"id\":1}\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"get greeting\r\n",
        b"MEMX\0",
        &[b'A'; 64],
        &[0; 64],
    ] {
        assert_eq!(
            code_of(&api.refusal(garbage).await),
            "invalid_argument",
            "{garbage:?}"
        );
    }
}

#[tokio::test]
async fn json_without_the_token_is_refused() {
    let api = Api::start().await;
    let set = br#"{"id":2,"op":"set","key":"k","text":"v"}"#;
    for first in [
        hello_line(WRONG_TOKEN),
        hello_line(""),
        hello_line(&TOKEN[..63]),
        hello_line(&format!("{TOKEN}0")),
        b"{\"id\":1,\"op\":\"hello\"}\n".to_vec(),
        b"{\"id\":1,\"op\":\"hello\",\"token\":7}\n".to_vec(),
        b"{\n".to_vec(),
        [&set[..], b"\n"].concat(),
    ] {
        let refusal = api.refusal(&[&first[..], set, b"\n"].concat()).await;
        assert_eq!(code_of(&refusal), "denied", "{}", String::from_utf8_lossy(&first));
    }
}

#[tokio::test]
async fn the_native_protocol_needs_the_token_too() {
    let api = Api::start().await;
    let mut hello_reply = [0; 16];
    let mut stream = TcpStream::connect(api.address).await.unwrap();
    stream.write_all(&native_hello(TOKEN)).await.unwrap();
    stream.read_exact(&mut hello_reply).await.unwrap();
    assert_eq!((hello_reply[4], hello_reply[6]), (Op::Hello.to_byte(), 0));
    for token in ["", WRONG_TOKEN, &TOKEN[..62], "not hexadecimal"] {
        let fault = api.refusal(&native_hello(token)).await;
        assert_eq!(fault[4], Op::Fault.to_byte());
        assert_eq!(
            u16::from_le_bytes([fault[6], fault[7]]),
            ErrorCode::Denied.number()
        );
    }
}

#[tokio::test]
async fn a_stranger_cannot_make_the_node_hold_much() {
    let api = Api::start().await;
    let endless = [&b"{"[..], &[b' '; FIRST_LINE_MAX]].concat();
    assert_eq!(code_of(&api.refusal(&endless).await), "too_large");
    // A HELLO that promises more than any has is refused at its header.
    let mut long = PREFACE.to_vec();
    let mut header = FrameHeader::new(Op::Hello, 1);
    header.length = HELLO_LEN_MAX as u32;
    long.extend(header.encode());
    assert_eq!(api.refusal(&long).await[4], Op::Fault.to_byte());
}

#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_is_closed() {
    let api = Api::start().await;
    for bytes in [&b""[..], b"ME", b"GE", b"{\"id\":1,"] {
        assert_eq!(code_of(&api.refusal(bytes).await), "timeout", "{bytes:?}");
    }
    for bytes in [&PREFACE[..], &native_hello(TOKEN)[..30]] {
        let fault = api.refusal(bytes).await;
        assert_eq!(
            u16::from_le_bytes([fault[6], fault[7]]),
            ErrorCode::Timeout.number()
        );
    }
}

#[tokio::test]
async fn strangers_take_no_more_than_their_places() {
    let api = Api::start().await;
    let mut program = api.greeted().await;
    let mut strangers = Vec::new();
    for _ in 0..STRANGERS_MAX {
        strangers.push(api.connect().await);
    }
    // Connections are accepted in order, so this one comes behind them all.
    let mut one_more = api.connect().await;
    assert_eq!(one_more.read().await, None);
    // Whoever has sent the token is not disturbed, and a place that is given back can be taken.
    program.write(b"{\"id\":2,\"op\":\"ping\"}\n").await;
    assert_eq!(program.read().await.unwrap()["id"], 2);
    drop(strangers);
    while api.gauge.open() > 1 {
        tokio::task::yield_now().await;
    }
    api.greeted().await;
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let api = Api::with(TcpConfig {
        connections_max: 1,
        ..config(ApiPort::Port(0))
    })
    .await;
    // Strangers do not count.
    let _stranger = api.connect().await;
    let _first = api.greeted().await;
    assert_eq!(code_of(&api.refusal(&hello_line(TOKEN)).await), "busy");
    let fault = api.refusal(&native_hello(TOKEN)).await;
    assert_eq!(u16::from_le_bytes([fault[6], fault[7]]), ErrorCode::Busy.number());
}

#[tokio::test]
async fn a_node_that_stops_says_so() {
    let api = Api::start().await;
    let mut program = api.greeted().await;
    api.stop.cancel();
    assert_eq!(program.read().await.unwrap()["error"]["code"], "shutting_down");
    assert_eq!(program.read().await, None);
}

#[tokio::test]
async fn a_port_that_is_taken_fails_where_it_was_named_alone() {
    let api = Api::start().await;
    let bind =
        |config: TcpConfig| async move { TcpApi::bind(&config, token(), ConnectionGauge::default()).await };
    let error = bind(config(ApiPort::Port(api.address.port()))).await.unwrap_err();
    assert!(error.to_string().contains("--api-port"), "{error}");
    assert!(bind(config(ApiPort::Off)).await.unwrap().is_none());
    // The default port, on a loopback address that nobody else uses.
    let [a, b] = rand::random::<[u8; 2]>();
    let auto = TcpConfig {
        listen: IpAddr::from([127, 77, a, b.clamp(1, 254)]),
        ..config(ApiPort::Auto)
    };
    let first = bind(auto.clone()).await.unwrap().unwrap();
    assert_eq!(first.address().port(), API_PORT_DEFAULT);
    assert!(bind(auto).await.unwrap().is_none());
    let public = TcpConfig {
        listen: Ipv4Addr::UNSPECIFIED.into(),
        ..config(ApiPort::Port(0))
    };
    assert!(bind(public).await.unwrap_err().to_string().contains("loopback"));
}

#[test]
fn the_first_bytes_tell_what_it_is() {
    for (bytes, expected) in [
        (&b""[..], None),
        (b"{", Some(Opening::Json)),
        (b"MEM", None),
        (b"MEMC\x14", Some(Opening::Native)),
        (b"MEMX ", Some(Opening::Http)),
        (b"PO", None),
        (b"POST ", Some(Opening::Http)),
        (b"POST\t", Some(Opening::Garbage)),
        (b" GET", Some(Opening::Garbage)),
        (b"get ", Some(Opening::Garbage)),
        (&[b'A'; 31], None),
        (&[b'A'; 32], Some(Opening::Garbage)),
    ] {
        assert_eq!(opening(bytes), expected, "{bytes:?}");
    }
}
