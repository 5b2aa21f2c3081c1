//! A site of root's configuration: where it is, and what proves who asks.

use std::path::Path;

use vestibule::config::Config;
use vestibule::messages::shown;
use vestibule::paths;
use vestibule::secret::Secret;

use crate::failure::Failure;
use crate::origin::Origin;

/// A site.
pub(crate) struct Site {
    pub(crate) name: String,
    pub(crate) origin: Origin,
    /// For this site and nobody else.
    pub(crate) token: Option<Secret>,
    pub(crate) ca_file: Option<std::path::PathBuf>,
    /// The HTTP proxy on the way.
    pub(crate) proxy: Option<Origin>,
}

impl Site {
    /// The one that root's configuration has under this name.
    pub(crate) fn of_configuration(name: &str) -> Result<Site, Failure> {
        let config = Config::load_trusted(Path::new(paths::CONFIG)).map_err(Failure::setup)?;
        let fault = |what: &str| Failure::setup(format_args!("site '{}': {what}", shown(name)));
        let site = config.site.get(name).ok_or_else(|| fault("not in the configuration"))?;
        let origin = Origin::parse(&site.url)
            .ok_or_else(|| fault("its url is not https://HOST or https://HOST:PORT"))?;
        if !origin.tls && !origin.is_loopback() && !site.allow_http {
            return Err(fault("its url is plain http to another machine: use https, or set allow_http"));
        }
        let proxy = site.proxy.as_deref().map(|url| {
            Origin::parse(url)
                .filter(|proxy| !proxy.tls)
                .ok_or_else(|| fault("its proxy is not http://HOST:PORT"))
        });
        let token = site.token_file.as_deref().map(Secret::read).transpose();
        Ok(Site {
            name: name.to_owned(),
            origin,
            token: token.map_err(|e| fault(&e.to_string()))?,
            ca_file: site.ca_file.clone(),
            proxy: proxy.transpose()?,
        })
    }
}
