//! What an engine says of a container: `GET /containers/ID/json` of Docker's Engine API.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

use super::http;

/// A container as its engine knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Inspected {
    /// 64 hexadecimal digits; they stand in the path of the container's control groups.
    pub(crate) id: String,
    /// Its first process here; 0 when it does not run.
    pub(crate) pid: i32,
    pub(crate) paused: bool,
    /// Its first process ended and the engine starts it again.
    pub(crate) restarting: bool,
    /// How its last first process ended.
    pub(crate) exit_code: i32,
    /// `NAME=VALUE` and NUL, for each variable.
    pub(crate) env: Vec<u8>,
    /// Its own address on a network of the engine.
    pub(crate) address: Option<IpAddr>,
    /// What makes it as good as its engine's host, if anything does.
    pub(crate) power: Option<String>,
    /// Published TCP ports: inside, and where they are on the host.
    pub(crate) published: Vec<(u16, IpAddr, u16)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    id: String,
    #[serde(default)]
    name: String,
    state: State,
    #[serde(default)]
    config: ConfigPart,
    #[serde(default)]
    network_settings: Network,
    #[serde(default)]
    host_config: HostConfig,
}

/// What it was started with.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct HostConfig {
    privileged: bool,
    pid_mode: String,
    network_mode: String,
    cap_add: Option<Vec<String>>,
}

impl HostConfig {
    /// As `may::power` says it of what the kernel knows.
    fn power(&self) -> Option<&'static str> {
        let adds = |name: &str| {
            let all = self.cap_add.iter().flatten();
            all.map(|cap| cap.to_uppercase()).any(|cap| cap.strip_prefix("CAP_").unwrap_or(&cap) == name)
        };
        if self.privileged {
            Some("is privileged")
        } else if self.pid_mode == "host" {
            Some("sees its host's processes")
        } else if adds("ALL") || adds("SYS_MODULE") {
            Some("may load kernel modules")
        } else if adds("SYS_RAWIO") {
            Some("may reach the hardware")
        } else {
            (self.network_mode == "host").then_some("is in its host's own network")
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    pid: i32,
    #[serde(default)]
    running: bool,
    #[serde(default)]
    paused: bool,
    #[serde(default)]
    restarting: bool,
    #[serde(default)]
    exit_code: i32,
}

#[derive(Deserialize)]
struct Fault {
    message: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct ConfigPart {
    #[serde(default)]
    hostname: String,
    env: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Network {
    #[serde(rename = "IPAddress")]
    address: String,
    #[serde(rename = "Networks")]
    networks: Option<BTreeMap<String, Option<Endpoint>>>,
    #[serde(rename = "Ports")]
    ports: Option<BTreeMap<String, Option<Vec<Published>>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Endpoint {
    #[serde(rename = "IPAddress")]
    v4: String,
    #[serde(rename = "GlobalIPv6Address")]
    v6: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Published {
    #[serde(default)]
    host_ip: String,
    host_port: String,
}

/// Understands a whole HTTP answer on `container`. `Ok(None)` when there is no such container.
///
/// # Errors
/// What is wrong with it, for the log.
pub(crate) fn parse(container: &[u8], mut answer: &[u8]) -> Result<Option<Inspected>, String> {
    let head = http::read_head(&mut answer).map_err(|e| format!("the engine's answer has no head: {e}"))?;
    let body =
        http::read_body(&mut answer, head, 8 << 20).map_err(|e| format!("the engine's answer: {e}"))?;
    understand(container, head.status, &body)
}

/// Understands a status and a body.
///
/// # Errors
/// As [`parse`].
pub(crate) fn understand(container: &[u8], status: u16, body: &[u8]) -> Result<Option<Inspected>, String> {
    match status {
        200 => {}
        404 => return Ok(None),
        other => return Err(format!("the engine answered with status {other}")),
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|e| format!("the engine's answer: {e}"))?;
    let whole_id = answer.id.len() == 64 && answer.id.bytes().all(|b| b.is_ascii_hexdigit());
    if !whole_id {
        return Err("the engine's answer has no container id".to_owned());
    }
    // Engines also answer to the beginning of an id, which may be somebody else's.
    let name = answer.name.strip_prefix('/').unwrap_or(&answer.name);
    if name.as_bytes() != container && answer.id.as_bytes() != container {
        return Ok(None);
    }
    let network = answer.network_settings;
    let endpoints = network.networks.unwrap_or_default();
    let candidates = std::iter::once(network.address.as_str())
        .chain(endpoints.values().flatten().flat_map(|e| [e.v4.as_str(), e.v6.as_str()]));
    // As the engine's own exec has it: HOSTNAME, unless the container's settings say otherwise (the first one counts).
    let mut env: Vec<String> = answer.config.env.unwrap_or_default();
    env.push(format!("HOSTNAME={}", answer.config.hostname));
    Ok(Some(Inspected {
        id: answer.id,
        pid: if answer.state.running { answer.state.pid } else { 0 },
        paused: answer.state.paused,
        restarting: answer.state.restarting,
        exit_code: answer.state.exit_code,
        power: answer.host_config.power().map(str::to_owned),
        env: env.iter().flat_map(|v| [v.as_bytes(), &[0]].concat()).collect(),
        address: candidates.filter_map(|a| a.parse().ok()).next(),
        published: network
            .ports
            .unwrap_or_default()
            .iter()
            .filter_map(|(port, hosts)| {
                Some((port.strip_suffix("/tcp")?.parse().ok()?, hosts.as_deref()?.first()?))
            })
            .filter_map(|(port, host)| Some((port, reachable(&host.host_ip)?, host.host_port.parse().ok()?)))
            .collect(),
    }))
}

/// The address by which the bastion reaches a port published on `host_ip`: every address, or none named, is loopback.
fn reachable(host_ip: &str) -> Option<IpAddr> {
    let ip = if host_ip.is_empty() { "0.0.0.0" } else { host_ip }.parse().ok()?;
    Some(match ip {
        IpAddr::V4(v4) if v4.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
        one => one,
    })
}

/// The parser's side: understands an answer and puts it in fields for the worker.
pub(crate) fn to_fields(container: &[u8], answer: &[u8]) -> Vec<Vec<u8>> {
    match parse(container, answer) {
        Err(e) => vec![b"error".to_vec(), e.into_bytes()],
        Ok(None) => vec![b"none".to_vec()],
        Ok(Some(found)) => {
            let ports: Vec<String> =
                found.published.iter().map(|(p, ip, host)| format!("{p} {ip} {host}")).collect();
            vec![
                b"found".to_vec(),
                found.id.into_bytes(),
                found.pid.to_string().into_bytes(),
                if found.paused { b"paused".to_vec() } else { vec![] },
                found.env,
                found.address.map(|a| a.to_string()).unwrap_or_default().into_bytes(),
                ports.join("\n").into_bytes(),
                if found.restarting { b"restarting".to_vec() } else { vec![] },
                found.exit_code.to_string().into_bytes(),
                found.power.unwrap_or_default().into_bytes(),
            ]
        }
    }
}

/// The parser's side of an answer without content: its status, and the engine's words for an error.
pub(crate) fn status_to_fields(mut answer: &[u8]) -> Vec<Vec<u8>> {
    let head = match http::read_head(&mut answer) {
        Ok(head) => head,
        Err(e) => return vec![vec![], format!("the engine's answer has no head: {e}").into_bytes()],
    };
    let body = http::read_body(&mut answer, head, 64 << 10).unwrap_or_default();
    let message = serde_json::from_slice::<Fault>(&body).map(|fault| fault.message).unwrap_or_default();
    vec![head.status.to_string().into_bytes(), message.into_bytes()]
}

impl Inspected {
    /// The worker's side of [`to_fields`].
    ///
    /// # Errors
    /// What the parser found wrong.
    pub(crate) fn from_fields(fields: Vec<Vec<u8>>) -> Result<Option<Self>, String> {
        let text =
            |n: usize| fields.get(n).map(|f| String::from_utf8_lossy(f).into_owned()).unwrap_or_default();
        match text(0).as_str() {
            "none" => Ok(None),
            "found" => Ok(Some(Inspected {
                id: text(1),
                pid: text(2).parse().map_err(|_| "no pid".to_owned())?,
                paused: text(3) == "paused",
                env: fields.get(4).cloned().unwrap_or_default(),
                address: text(5).parse().ok(),
                published: text(6)
                    .lines()
                    .filter_map(|line| {
                        let mut parts = line.split(' ');
                        Some((
                            parts.next()?.parse().ok()?,
                            parts.next()?.parse().ok()?,
                            parts.next()?.parse().ok()?,
                        ))
                    })
                    .collect(),
                restarting: text(7) == "restarting",
                exit_code: text(8).parse().unwrap_or_default(),
                power: Some(text(9)).filter(|power| !power.is_empty()),
            })),
            _ => Err(text(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(json: &str) -> Vec<u8> {
        format!("HTTP/1.0 200 OK\r\n\r\n{json}").into_bytes()
    }

    #[test]
    fn an_answer_survives_the_way_to_the_worker() {
        let id = "a".repeat(64);
        let json = format!(
            r#"{{"Id":"{id}","Name":"/lab","State":{{"Pid":77,"Running":true,"Paused":false,"Restarting":true,"ExitCode":3}},"HostConfig":{{"PidMode":"","CapAdd":["sys_rawio"]}},"Config":{{"Hostname":"h","Env":["A=b c","E="]}},
            "NetworkSettings":{{"IPAddress":"","Networks":{{"n":{{"IPAddress":"172.18.0.2"}},"m":null}},
            "Ports":{{"22/tcp":[{{"HostIp":"0.0.0.0","HostPort":"2222"}}],"53/udp":null,"80/tcp":null}}}}}}"#
        );
        let found = Inspected::from_fields(to_fields(b"lab", &answer(&json))).unwrap().unwrap();
        let wanted = Inspected {
            id,
            pid: 77,
            paused: false,
            restarting: true,
            exit_code: 3,
            power: Some("may reach the hardware".to_owned()),
            env: b"A=b c\0E=\0HOSTNAME=h\0".to_vec(),
            address: Some("172.18.0.2".parse().unwrap()),
            published: vec![(22, "127.0.0.1".parse().unwrap(), 2222)],
        };
        assert_eq!(found, wanted);
        let by_id = to_fields("a".repeat(64).as_bytes(), &answer(&json));
        assert_eq!(Inspected::from_fields(by_id), Ok(Some(wanted)));
        let by_half_an_id = to_fields(b"aaaaaa", &answer(&json));
        assert_eq!(Inspected::from_fields(by_half_an_id), Ok(None), "somebody else's container");
    }

    #[test]
    fn a_status_and_the_words_for_an_error_reach_the_worker() {
        let fields =
            |answer: &[u8]| status_to_fields(answer).into_iter().map(|f| String::from_utf8(f).unwrap());
        let fields = |answer: &[u8]| fields(answer).collect::<Vec<_>>();
        assert_eq!(fields(b"HTTP/1.0 204 No Content\r\n\r\n"), ["204", ""]);
        assert_eq!(
            fields(b"HTTP/1.0 500 Oops\r\n\r\n{\"message\":\"no such image\"}"),
            ["500", "no such image"]
        );
        assert_eq!(fields(b"HTTP/1.0 500 Oops\r\n\r\n<html>"), ["500", ""]);
        assert_eq!(fields(b"")[0], "");
    }

    #[test]
    fn what_is_no_container_is_said_to_be_none() {
        assert_eq!(Inspected::from_fields(to_fields(b"x", b"HTTP/1.0 404 Not Found\r\n\r\n{}")), Ok(None));
        for json in ["{}", "[]", r#"{"Id":"short","State":{"Pid":1,"Running":true}}"#, "<html>"] {
            assert!(Inspected::from_fields(to_fields(b"x", &answer(json))).is_err(), "{json}");
        }
        assert!(Inspected::from_fields(to_fields(b"x", b"HTTP/1.0 500 Oops\r\n\r\n")).is_err());
    }
}
