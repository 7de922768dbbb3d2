//! What the loader of configurations asks of one for etcd: its rules, and whether the files that it
//! names are of use.

use keyval_config::{Environment, Findings, Validate};

use crate::config::{ENDPOINT_VARIABLES, EtcdConfig};
use crate::login;
use crate::tls::Tls;

impl Validate for EtcdConfig {
    fn validate(&self, findings: &mut Findings) {
        self.check_all(findings);
    }

    fn inspect(&self, findings: &mut Findings) {
        let reads_files = match self.discovery_srv {
            // The records will tell; the keys for files mean TLS, unless it is turned off.
            Some(_) => self.has_tls_keys() && self.insecure_transport != Some(true),
            None => self.inspect_endpoints(findings),
        };
        if reads_files && let Err(unusable) = Tls::inspect(self) {
            findings.refuse(unusable.key, unusable.told);
        }
        if let Some(path) = &self.password_file
            && let Err(why) = login::read_password(path)
        {
            findings.refuse("password-file", why);
        }
    }

    fn own_variables(&self) -> &'static [(&'static str, &'static [&'static str])] {
        match self.endpoints.is_empty() && self.discovery_srv.is_none() {
            true => &[("endpoints", &ENDPOINT_VARIABLES)],
            false => &[],
        }
    }
}

impl EtcdConfig {
    /// Refuses keys that go against the endpoints, and tells whether these are reached by TLS.
    fn inspect_endpoints(&self, findings: &mut Findings) -> bool {
        if !self.endpoints.is_empty() {
            // They were compared with the keys by the rules.
            return self.is_encrypted(&self.endpoints);
        }
        let Ok(endpoints) = self.resolve_endpoints(&Environment::process()) else {
            return false;
        };
        self.check_transport(&endpoints, findings);
        self.is_encrypted(&endpoints)
    }
}
