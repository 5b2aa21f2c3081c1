//! `kind = "url"`: a file of keys for each account, as GitHub and GitLab have them at `https://host/NAME.keys`.
//!
//! Such a host knows nothing of who may enter what: whose keys are wanted stands in the configuration, or is what another
//! source says. Each is asked for by itself, a few at a time, and not sent again when it is as it was. What was sent last is
//! remembered beside the store (`memory.rs`) by its `ETag` and by a sum of the keys: where the store has other keys than
//! those, for whatever reason, the file is asked for anew.

mod memory;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use vestibule::authorized_keys;
use vestibule::fingerprint::Fingerprint;
use vestibule::names::login::AccountName;
use vestibule::store::{KeyFilter, Scope, Store};

use super::{Answer, Ask, Source, SourceFault, parallel};
use crate::rows::{KeyRow, Row};
use crate::settings::network::Url as Settings;
use crate::sink::Sink;
use memory::{Known, Memory, sum};
use vestibule::secret::Secret;
use vestibule_http::{Client, HttpFault, Page, Question, Reply, percent_encoded};

/// Bytes of a file of keys.
const MAX_FILE: usize = 256 << 10;
/// Accounts that are asked for before what came is taken.
const AT_ONCE: usize = 64;
const MEDIA_TYPE: &str = "text/plain";

/// A host with files of keys.
#[derive(Debug)]
pub(crate) struct Url<'a> {
    client: Client,
    settings: &'a Settings,
    /// The source's own name.
    name: &'a str,
}

/// What came of one account.
enum File {
    /// Its keys.
    New(Page),
    /// As remembered.
    Same,
    /// There is none.
    None,
    /// One that can't be used.
    Bad(HttpFault),
}

impl<'a> Url<'a> {
    pub(crate) fn new(settings: &'a Settings, name: &'a str) -> Result<Url<'a>, SourceFault> {
        let token = settings.token_file.as_deref().map(Secret::read).transpose()?;
        let client = Client::new(vestibule_http::Settings {
            url: settings.url.replace("{account}", "x"),
            token: token.map(|token| ("Bearer", token)),
            ca_file: settings.ca_file.clone(),
            allow_http: settings.allow_http,
            proxy: settings.proxy.clone(),
            connect: Duration::from_secs(10),
            read: Duration::from_secs(20),
            whole: Duration::from_secs(settings.timeout.into()),
            retries: 3,
            max_body: MAX_FILE,
        })?;
        Ok(Url { client, settings, name })
    }

    /// Whose keys are wanted.
    fn accounts(&self, ask: &Ask<'_>) -> Result<Vec<String>, SourceFault> {
        let only = match ask.scope {
            Scope::All => None,
            Scope::Account(name) => Some(name.as_str()),
            // It knows no targets.
            Scope::Target(_) => return Ok(Vec::new()),
        };
        let wanted = |name: &str| only.is_none_or(|only| only == name);
        let listed = self.settings.accounts.iter().filter(|name| wanted(name)).cloned();
        let mut accounts: BTreeSet<String> = listed.collect();
        if !self.settings.accounts_of.is_empty() {
            // Not for longer than that: the store's writers want to move on.
            Store::open_read(ask.store)?.accounts(only, |row| {
                if self.settings.accounts_of.contains(&row.source) {
                    accounts.insert(row.name);
                }
                ControlFlow::Continue(())
            })?;
        }
        Ok(accounts.into_iter().collect())
    }

    fn address(&self, account: &str) -> String {
        let name = self.settings.names.get(account).map_or(account, String::as_str);
        self.settings.url.replace("{account}", &percent_encoded(name))
    }

    fn ask(&self, account: &str, known: Option<&Known>) -> Result<File, SourceFault> {
        let url = self.address(account);
        let question = Question {
            etag: known.map(|known| known.etag.as_str()),
            accept: MEDIA_TYPE,
            ..Question::default()
        };
        let fault = |why: &dyn std::fmt::Display| SourceFault::Source(format!("account '{account}': {why}"));
        match self.client.get(&url, question) {
            Ok(Reply::Page(page)) if page.media_type == MEDIA_TYPE => Ok(File::New(page)),
            Ok(Reply::Page(page)) => Err(fault(&format_args!(
                "the answer is '{}', and not '{MEDIA_TYPE}'",
                page.media_type.escape_debug()
            ))),
            Ok(Reply::NotFound | Reply::Gone) => Ok(File::None),
            Ok(Reply::Unchanged) if known.is_some() => Ok(File::Same),
            Ok(Reply::Unchanged) => {
                Err(fault(&"the answer is that nothing changed, of which nothing was known"))
            }
            // About this account alone; about all of them would be about the host.
            Err(why @ HttpFault::TooBig { .. }) => Ok(File::Bad(why)),
            Err(
                why @ HttpFault::Status {
                    status: 400 | 402 | 405..=407 | 409 | 411..=424 | 426..=428 | 451,
                    ..
                },
            ) => Ok(File::Bad(why)),
            Err(why) => Err(fault(&why)),
        }
    }

    /// The keys of an account that the store has of this source, as lines.
    fn kept(&self, store: &Store, account: &str) -> Result<(Vec<String>, u64), SourceFault> {
        let mut lines = Vec::new();
        let mut prints = BTreeSet::new();
        store.keys(KeyFilter::Account(account), |key| {
            if key.source == self.name {
                prints.insert(key.fingerprint);
                lines.push(format!("{} {}", key.public_key, text(&key.comment)));
            }
            ControlFlow::Continue(())
        })?;
        Ok((lines, sum(&self.address(account), &prints)))
    }

    /// Says the keys of a file. What to remember of it; nothing when not all of it could be taken, so that it is told of
    /// again.
    fn take(&self, account: &str, page: &Page, sink: &mut Sink<'_>) -> Result<Option<Known>, SourceFault> {
        let what = format!("key of account '{account}'");
        let (mut prints, mut lines, mut whole) = (BTreeSet::new(), Vec::new(), true);
        for line in authorized_keys::lines(&page.body) {
            let why = match line {
                Ok(entry) if !entry.options_text.is_empty() => {
                    format!("line {}: it has options, which such a file may not give", entry.line)
                }
                Ok(entry) => {
                    let print: Fingerprint = entry.key.fingerprint();
                    if prints.insert(print) {
                        lines.push(format!("{} {}", entry.key, text(entry.comment)));
                    }
                    continue;
                }
                Err(problem) => format!("line {}: {}", problem.line, problem.why),
            };
            sink.bad(&what, why);
            whole = false;
        }
        say(account, &lines, sink)?;
        let etag = page.etag.clone().filter(|_| whole);
        Ok(etag.map(|etag| Known { etag, sum: sum(&self.address(account), &prints) }))
    }
}

impl Source for Url<'_> {
    fn fetch(&mut self, ask: &Ask<'_>, sink: &mut Sink<'_>) -> Result<Answer, SourceFault> {
        let accounts = self.accounts(ask)?;
        let mut memory = Memory::read(ask);
        let mut all_same = true;
        for some in accounts.chunks(AT_ONCE) {
            let files = parallel::ask(some, self.settings.parallel, |account| {
                if AccountName::try_from(account.as_str()).is_err() {
                    return Ok(File::None);
                }
                self.ask(account, memory.of(account))
            })?;
            let store = Store::open_read(ask.store)?;
            for (account, mut file) in some.iter().zip(files) {
                if matches!(file, File::Same) {
                    let (lines, sum) = self.kept(&store, account)?;
                    if memory.of(account).is_some_and(|known| known.sum == sum) {
                        say(account, &lines, sink)?;
                        memory.stays(account);
                        continue;
                    }
                    file = self.ask(account, None)?;
                }
                all_same = false;
                match file {
                    File::New(page) => memory.note(account, self.take(account, &page, sink)?),
                    File::Bad(why) => sink.bad(&format!("keys of account '{account}'"), why),
                    File::None | File::Same => {}
                }
            }
        }
        // Of nobody at all nothing is the same.
        let same = all_same && !accounts.is_empty() && memory.is_same();
        memory.write(ask)?;
        Ok(if same { Answer::Unchanged } else { Answer::Whole { cursor: None } })
    }
}

fn say(account: &str, lines: &[String], sink: &mut Sink<'_>) -> Result<(), SourceFault> {
    if lines.is_empty() {
        return Ok(());
    }
    let key = lines.join("\n");
    sink.row(Row::Key(KeyRow { account: Some(account.to_owned()), target: None, key, expires: None }))
}

/// A comment, as far as it is text.
fn text(comment: &[u8]) -> &str {
    let sound = match std::str::from_utf8(comment) {
        Ok(text) => return text,
        Err(error) => error.valid_up_to(),
    };
    comment.get(..sound).and_then(|sound| std::str::from_utf8(sound).ok()).unwrap_or_default()
}
