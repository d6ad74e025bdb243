//! Who is told of things outside: a receiver of webhooks and a mail server, small and strict, on this machine.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::callers::eventually;

/// What came, as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Got {
    /// Headers by their names in small letters.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

/// Somebody who listens, and refuses as often as it was told to.
#[derive(Clone)]
pub(crate) struct Outside {
    pub(crate) port: u16,
    taken: Arc<Mutex<Vec<Got>>>,
    refused: Arc<Mutex<Vec<Got>>>,
    refusals: Arc<Mutex<VecDeque<()>>>,
}

impl Outside {
    /// A receiver of webhooks.
    pub(crate) async fn webhooks() -> Self {
        Self::listen(|outside, stream| async move { outside.receive(stream).await }).await
    }

    /// A mail server without TLS or logins.
    pub(crate) async fn mail() -> Self {
        Self::listen(|outside, stream| async move { outside.converse(stream).await }).await
    }

    /// Refuses what comes next, so many times.
    pub(crate) fn refuse(&self, times: usize) {
        *self.refusals.lock().unwrap() = std::iter::repeat_n((), times).collect();
    }

    /// Everything that was taken.
    pub(crate) fn taken(&self) -> Vec<Got> {
        self.taken.lock().unwrap().clone()
    }

    /// Everything that was refused.
    pub(crate) fn refused(&self) -> Vec<Got> {
        self.refused.lock().unwrap().clone()
    }

    /// The first that was taken with these words in its body.
    pub(crate) async fn got(&self, words: &[&str]) -> Got {
        let fits = |it: &Got| words.iter().all(|word| it.body.contains(word));
        eventually(&format!("{words:?} came"), || async { self.taken().into_iter().find(&fits) }).await
    }

    async fn listen<F: Future<Output = Option<()>> + Send>(
        answer: impl Fn(Self, TcpStream) -> F + Send + Sync + Copy + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let outside = Self { port, taken: Arc::default(), refused: Arc::default(), refusals: Arc::default() };
        let this = outside.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let this = this.clone();
                tokio::spawn(async move { answer(this, stream).await });
            }
        });
        outside
    }

    /// Whether this is taken.
    fn take(&self, got: Got) -> bool {
        let refuses = self.refusals.lock().unwrap().pop_front().is_some();
        let list = if refuses { &self.refused } else { &self.taken };
        list.lock().unwrap().push(got);
        !refuses
    }

    /// HTTP/1.1, one request after another.
    async fn receive(self, stream: TcpStream) -> Option<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let start = line(&mut stream).await?;
            assert!(start == "POST /kapelle HTTP/1.1", "{start}");
            let headers = headers(&mut stream).await?;
            let mut body = vec![0; headers["content-length"].parse().unwrap()];
            stream.read_exact(&mut body).await.ok()?;
            let taken = self.take(Got { headers, body: String::from_utf8(body).unwrap() });
            let status = if taken { "204 No Content" } else { "503 Service Unavailable" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.ok()?;
        }
    }

    /// SMTP: one mail a connection, in the order that RFC 5321 has it.
    async fn converse(self, stream: TcpStream) -> Option<()> {
        let mut stream = BufReader::new(stream);
        say(&mut stream, "220 mail.test").await?;
        for (command, answer) in [
            ("EHLO ", "250 mail.test"),
            ("MAIL FROM:<kapelle@example.com>", "250 ok"),
            ("RCPT TO:<", "250 ok"),
            ("DATA", "354 go on"),
        ] {
            let said = line(&mut stream).await?;
            assert!(said.starts_with(command), "{said}");
            say(&mut stream, answer).await?;
        }
        let headers = headers(&mut stream).await?;
        let mut body = String::new();
        loop {
            match line(&mut stream).await?.as_str() {
                "." => break,
                text => body = body + text.strip_prefix('.').unwrap_or(text) + "\n",
            }
        }
        let taken = self.take(Got { headers, body });
        say(&mut stream, if taken { "250 queued" } else { "451 come again" }).await?;
        while line(&mut stream).await? != "QUIT" {
            say(&mut stream, "250 ok").await?;
        }
        say(&mut stream, "221 bye").await
    }
}

async fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).await.ok()?;
    (read > 0).then(|| line.strip_suffix("\r\n").unwrap().to_owned())
}

async fn say(stream: &mut BufReader<TcpStream>, text: &str) -> Option<()> {
    stream.write_all(format!("{text}\r\n").as_bytes()).await.ok()
}

/// Headers until the empty line; one that goes on is one.
async fn headers(stream: &mut BufReader<TcpStream>) -> Option<HashMap<String, String>> {
    let mut headers: HashMap<String, String> = HashMap::new();
    let mut last = String::new();
    loop {
        let text = line(stream).await?;
        if text.is_empty() {
            return Some(headers);
        }
        if let Some(more) = text.strip_prefix(' ') {
            headers.entry(last.clone()).or_default().push_str(more);
            continue;
        }
        let (name, value) = text.split_once(": ").unwrap();
        last = name.to_lowercase();
        headers.insert(last.clone(), value.to_owned());
    }
}
