//! `kind = "postgres"`: the operator's own SQL, so that tables work as they are.
//!
//! Each query stands in root's configuration. PostgreSQL itself makes a line of JSON of each row, whatever types its
//! columns have; rows come through a portal, some hundred at a time, from one read-only snapshot. For one target or
//! account the query is asked with a condition around it. A notification names one target (`lab`, `target:lab`) or
//! account (`account:alice`); anything else means everything.

use std::time::{Duration, Instant};

use postgres::config::{Host, SslMode};
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, Config, IsolationLevel, Transaction};
use tokio_postgres_rustls::MakeRustlsConnect;
use vestibule::store::Scope;
use vestibule_names::login::{AccountName, TargetName};

use super::tabular::{self, Table};
use super::{Answer, Ask, News, Source, SourceFault};
use crate::settings::Queries;
use crate::settings::network::Postgres as Settings;
use crate::sink::Sink;
use vestibule::secret::Secret;
use vestibule_http::client_config;

/// Rows that are fetched at a time.
const ROWS: i32 = 500;
/// Notifications that are kept before everything is refreshed in their place.
const MANY: usize = 50;

/// A database.
pub(super) struct Postgres {
    way: Way,
    queries: Queries,
    timeout: Duration,
}

/// How it is reached.
struct Way {
    config: Config,
    tls: MakeRustlsConnect,
}

/// A connection that hears notifications.
pub(super) struct Listener {
    way: Way,
    channel: String,
    client: Option<Client>,
}

/// A value in the text form of whatever type the query wants: a UUID, a number, a text.
#[derive(Debug)]
struct Text<'a>(&'a str);

impl ToSql for Text<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut postgres::types::private::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

impl Way {
    fn new(settings: &Settings) -> Result<Way, SourceFault> {
        let fault = |why: &str| SourceFault::Source(format!("configuration: {why}"));
        let mut config: Config =
            settings.connect.parse().map_err(|_| fault("'connect' is no connection string"))?;
        if config.get_password().is_some() {
            return Err(fault("'connect' has a password in it: give it by password_file"));
        }
        if let Some(file) = &settings.password_file {
            config.password(Secret::read(file)?.expose());
        }
        config.connect_timeout(Duration::from_secs(10)).application_name("vestibule refresh-keys");
        // Whoever waits for an answer of a machine that is gone without a word waits for the kernel to say so.
        config.tcp_user_timeout(Duration::from_secs(20)).keepalives_idle(Duration::from_secs(15));
        config.keepalives_interval(Duration::from_secs(10)).keepalives_retries(3);
        let remote = config.get_hosts().iter().any(|host| match host {
            Host::Tcp(name) => {
                name != "localhost" && !name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
            Host::Unix(_) => false,
        });
        // Neither a password nor keys in the clear: who changes a key on the way is let in by it.
        if (remote || !config.get_hostaddrs().is_empty()) && !settings.allow_plain {
            config.ssl_mode(SslMode::Require);
        }
        Ok(Way { config, tls: MakeRustlsConnect::new(client_config(settings.ca_file.as_deref())?) })
    }

    fn connect(&self) -> Result<Client, SourceFault> {
        self.config.connect(self.tls.clone()).map_err(|error| fault("connection", &error))
    }
}

impl Postgres {
    pub(super) fn new(settings: &Settings) -> Result<Postgres, SourceFault> {
        let timeout = Duration::from_secs(settings.timeout.into());
        Ok(Postgres { way: Way::new(settings)?, queries: settings.queries(), timeout })
    }

    /// The queries that say something of the scope, each with the column that names it.
    fn asked(&self, scope: &Scope) -> Vec<(Table, &str, Option<&'static str>)> {
        let all = [
            (Table::Accounts, &self.queries.accounts, Some("name"), None),
            (Table::Targets, &self.queries.targets, None, Some("name")),
            (Table::Keys, &self.queries.keys, Some("account"), Some("target")),
            (Table::Grants, &self.queries.grants, Some("account"), Some("target")),
        ];
        all.into_iter()
            .filter_map(|(table, query, account, target)| {
                let query = query.as_deref()?;
                match scope {
                    Scope::All => Some((table, query, None)),
                    Scope::Account(_) => account.map(|column| (table, query, Some(column))),
                    Scope::Target(_) => target.map(|column| (table, query, Some(column))),
                }
            })
            .collect()
    }
}

impl Source for Postgres {
    fn fetch(&mut self, ask: &Ask<'_>, sink: &mut Sink<'_>) -> Result<Answer, SourceFault> {
        let mut client = self.way.connect()?;
        let millis = self.timeout.as_millis();
        let bounded = format!("SET statement_timeout = {millis}; SET TIME ZONE 'UTC'");
        client.batch_execute(&bounded).map_err(|error| fault("connection", &error))?;
        let mut transaction = client
            .build_transaction()
            .read_only(true)
            .isolation_level(IsolationLevel::RepeatableRead)
            .start()
            .map_err(|error| fault("transaction", &error))?;
        let names = spellings(ask.scope);
        for (table, query, column) in self.asked(ask.scope) {
            // A column that the query does not have: it says nothing of such a scope.
            if let Some(column) = column
                && !has_column(&mut transaction, table, query, column)?
            {
                continue;
            }
            rows(&mut transaction, table, query, column, &names, sink)?;
        }
        transaction.rollback().map_err(|error| fault("transaction", &error))?;
        Ok(Answer::Whole { cursor: None })
    }
}

impl Listener {
    pub(super) fn new(settings: &Settings) -> Result<Listener, SourceFault> {
        let channel = settings.listen.clone().unwrap_or_default();
        Ok(Listener { way: Way::new(settings)?, channel, client: None })
    }
}

impl News for Listener {
    fn wait(&mut self, _: Option<&str>, most: Duration) -> Result<Vec<Scope>, SourceFault> {
        let Some(client) = &mut self.client else {
            let mut client = self.way.connect()?;
            let listen = format!("LISTEN \"{}\"", self.channel.replace('"', "\"\""));
            client.batch_execute(&listen).map_err(|error| fault("LISTEN", &error))?;
            self.client = Some(client);
            // What changed before anybody listened was not heard.
            return Ok(vec![Scope::All]);
        };
        let heard = hear(client, most);
        if heard.is_err() {
            self.let_go();
        }
        heard
    }
}

impl Listener {
    /// Closes the connection. One that has not answered yet is waited for, so nobody waits for that.
    fn let_go(&mut self) {
        if let Some(client) = self.client.take() {
            // Without a thread it is waited for after all.
            let _ = std::thread::Builder::new().name("last words".to_owned()).spawn(move || drop(client));
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// What the notifications until `most` is over are about; those that come together are taken together.
fn hear(client: &mut Client, most: Duration) -> Result<Vec<Scope>, SourceFault> {
    let lost = |error: &postgres::Error| fault("LISTEN", error);
    let end = Instant::now() + most;
    let mut scopes: Vec<Scope> = Vec::new();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(vec![Scope::All]);
        }
        // A connection that nothing comes by says that it is dead only when it is asked something.
        client.is_valid(Duration::from_secs(10)).map_err(|error| lost(&error))?;
        let slice = left.min(Duration::from_secs(30));
        let mut notifications = client.notifications();
        let first = notifications.timeout_iter(slice).next().map_err(|error| lost(&error))?;
        scopes.extend(first.map(|note| scope(note.payload())));
        let mut more = notifications.iter();
        while let Some(note) = more.next().map_err(|error| lost(&error))? {
            let scope = scope(note.payload());
            if !scopes.contains(&scope) && scopes.len() <= MANY {
                scopes.push(scope);
            }
        }
        drop(more);
        drop(notifications);
        if scopes.len() > MANY || scopes.contains(&Scope::All) {
            return Ok(vec![Scope::All]);
        }
        if !scopes.is_empty() {
            return Ok(scopes);
        }
        if client.is_closed() {
            return Err(SourceFault::Source("LISTEN: the connection is closed".to_owned()));
        }
    }
}

fn scope(payload: &str) -> Scope {
    let payload = payload.trim();
    if let Some(name) = payload.strip_prefix("account:") {
        return AccountName::try_from(name)
            .map_or(Scope::All, |name| Scope::Account(name.as_str().to_owned()));
    }
    let name = payload.strip_prefix("target:").unwrap_or(payload);
    TargetName::try_from(name).map_or(Scope::All, |name| Scope::Target(name.as_str().to_owned()))
}

/// The spellings that a table may have a name in: a UUID is stored without dashes here.
fn spellings(scope: &Scope) -> Vec<String> {
    let name = match scope {
        Scope::All => return Vec::new(),
        Scope::Account(name) => return vec![name.clone()],
        Scope::Target(name) => name,
    };
    let mut all = vec![name.to_owned()];
    let parts = [name.get(..8), name.get(8..12), name.get(12..16), name.get(16..20), name.get(20..)];
    let [Some(a), Some(b), Some(c), Some(d), Some(e)] = parts else { return all };
    if name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let dashed = format!("{a}-{b}-{c}-{d}-{e}");
        all.extend([dashed.to_ascii_uppercase(), dashed]);
    }
    all
}

fn has_column(
    transaction: &mut Transaction<'_>,
    table: Table,
    query: &str,
    column: &str,
) -> Result<bool, SourceFault> {
    let statement = transaction.prepare(query).map_err(|error| fault(table.row_name(), &error))?;
    Ok(statement.columns().iter().any(|one| one.name() == column))
}

fn rows(
    transaction: &mut Transaction<'_>,
    table: Table,
    query: &str,
    column: Option<&str>,
    names: &[String],
    sink: &mut Sink<'_>,
) -> Result<(), SourceFault> {
    let failed = |error: &postgres::Error| fault(table.row_name(), error);
    let query = query.trim().trim_end_matches(';');
    let mut sql = format!("SELECT to_json(vestibule_row)::text FROM (\n{query}\n) vestibule_row");
    if let Some(column) = column {
        let holders: Vec<String> = (1..=names.len()).map(|number| format!("${number}")).collect();
        sql.push_str(&format!(" WHERE vestibule_row.\"{column}\" IN ({})", holders.join(", ")));
    }
    let values: Vec<Text<'_>> = names.iter().map(|name| Text(name)).collect();
    let mut params: Vec<&(dyn ToSql + Sync)> = Vec::new();
    if column.is_some() {
        params.extend(values.iter().map(|value| value as &(dyn ToSql + Sync)));
    }
    let portal = transaction.bind(sql.as_str(), &params).map_err(|error| failed(&error))?;
    let mut number = 0_u64;
    loop {
        let rows = transaction.query_portal(&portal, ROWS).map_err(|error| failed(&error))?;
        for row in &rows {
            let line: &str = row.try_get(0).map_err(|error| failed(&error))?;
            number += 1;
            let columns = serde_json::from_str(line).map_err(|why| why.to_string());
            match columns.and_then(|columns| tabular::row(table, columns)) {
                Ok(Some(row)) => sink.row(row)?,
                Ok(None) => {}
                Err(why) => sink.bad(&format!("{} {number}", table.row_name()), why),
            }
        }
        if rows.len() < usize::try_from(ROWS).unwrap_or(usize::MAX) {
            return Ok(());
        }
    }
}

/// What the database says, without the statement that it says it of.
fn fault(what: &str, error: &postgres::Error) -> SourceFault {
    let why = match error.as_db_error() {
        Some(error) => format!("{} ({})", error.message(), error.code().code()),
        None => {
            let mut why = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(inner) = source {
                why = format!("{why}: {inner}");
                source = inner.source();
            }
            why
        }
    };
    SourceFault::Source(format!("{what}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_is_about_one_thing_or_everything() {
        let target = |name: &str| Scope::Target(name.to_owned());
        assert_eq!(scope("lab"), target("lab"));
        assert_eq!(scope("target:lab"), target("lab"));
        assert_eq!(scope("account:a@b"), Scope::Account("a@b".to_owned()));
        assert_eq!(scope("6F9619FF-8B86-D011-B42D-00CF4FC964FF"), target("6f9619ff8b86d011b42d00cf4fc964ff"));
        for everything in ["", "a:b", "account:", "lab lab", "{\"id\":1}"] {
            assert_eq!(scope(everything), Scope::All, "{everything}");
        }
    }

    #[test]
    fn a_uuid_is_asked_for_in_each_spelling() {
        let uuid = scope("6f9619ff8b86d011b42d00cf4fc964ff");
        assert_eq!(
            spellings(&uuid),
            [
                "6f9619ff8b86d011b42d00cf4fc964ff",
                "6F9619FF-8B86-D011-B42D-00CF4FC964FF",
                "6f9619ff-8b86-d011-b42d-00cf4fc964ff"
            ]
        );
        assert_eq!(spellings(&scope("lab")), ["lab"]);
    }
}
