//! What the loader of configurations asks of one for etcd: its rules, and whether the files that it
//! names are of use.

use keyval_config::{Findings, Validate};

use crate::config::{ENDPOINT_VARIABLES, EtcdConfig};
use crate::login;
use crate::tls::{Tls, Unusable};

impl Validate for EtcdConfig {
    fn validate(&self, findings: &mut Findings) {
        self.check_all(findings);
    }

    fn inspect(&self, findings: &mut Findings) {
        // Where these are empty, the variables were looked at and the DNS is yet to tell: the other keys say
        // whether it will be TLS.
        if self.is_encrypted(&self.endpoints) {
            for Unusable { key, told } in Tls::inspect(self) {
                findings.refuse(key, told);
            }
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
