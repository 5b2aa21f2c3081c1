//! The question to the hub: whose is this token, and what may it do? `GET /hub/api/user`, with the token itself.
//!
//! Once, without a redirect, within a few seconds: somebody waits at a prompt, and will try again.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use vestibule::secret::Secret;
use vestibule_http::{Client, HttpFault, Question, Reply, Settings};

use crate::refused::Refused;
use crate::scopes::Owner;

/// Bytes of an answer. The scopes of somebody in many groups are some kilobytes.
const MAX_ANSWER: usize = 256 << 10;

/// What is needed of a source of `refresh-keys`, which reads the rest.
#[derive(Debug, Deserialize)]
pub(crate) struct Hub {
    kind: String,
    url: String,
    ca_file: Option<PathBuf>,
    #[serde(default)]
    allow_http: bool,
    proxy: Option<String>,
}

/// What came of a question.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The hub knows the token.
    Known(Owner),
    /// It does not: it never was one, has ended or was revoked.
    Unknown,
    /// There is no knowing.
    None(Refused),
}

impl Hub {
    /// The hub of the source `name`.
    ///
    /// # Errors
    /// What the configuration should not say.
    pub(crate) fn of_source(name: &str, table: &toml::Table) -> Result<Hub, Refused> {
        let fault = |why: &str| Refused::new("config", format_args!("source '{name}': {why}"));
        let hub: Hub = table.clone().try_into().map_err(|e: toml::de::Error| fault(e.message()))?;
        if hub.kind != "jupyterhub" {
            return Err(fault("tokens: a source of this kind has none"));
        }
        Ok(hub)
    }

    /// Asks whose the token is.
    pub(crate) fn ask(&self, token: Secret) -> Answer {
        match self.page(token) {
            Ok(owner) => Answer::Known(owner),
            Err(HttpFault::Status { status: 401 | 403, .. }) => Answer::Unknown,
            Err(fault) => Answer::None(Refused::new("hub", fault)),
        }
    }

    fn page(&self, token: Secret) -> Result<Owner, HttpFault> {
        let client = Client::new(Settings {
            url: self.url.clone(),
            token: Some(("token", token)),
            ca_file: self.ca_file.clone(),
            allow_http: self.allow_http,
            proxy: self.proxy.clone(),
            connect: Duration::from_secs(3),
            read: Duration::from_secs(5),
            whole: Duration::from_secs(8),
            retries: 0,
            max_body: MAX_ANSWER,
        })?;
        let question = Question { accept: "application/json", stay: true, ..Question::default() };
        let wrong = |why: &str| HttpFault::Protocol(why.to_owned());
        match client.get(&format!("{}/user", self.url.trim_end_matches('/')), question)? {
            Reply::Page(page) if page.media_type == "application/json" => serde_json::from_slice(&page.body)
                .map_err(|_| wrong("it is not what a hub says of a token's owner")),
            Reply::Page(_) => Err(wrong("it is no JSON; is the url '.../hub/api'?")),
            Reply::NotFound | Reply::Gone => Err(wrong("there is no hub at this address (404)")),
            Reply::Unchanged => Err(wrong("it is empty")),
        }
    }
}
