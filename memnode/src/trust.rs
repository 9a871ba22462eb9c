//! The devices that the person at this machine trusts for good: `trusted_devices.json`.
//!
//! The file is read once at the start and replaced atomically at each change. A damaged one stops the start with an error
//! that names it: forgetting in silence whom a person trusted, or believing half a file, would both be wrong.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

use std::collections::{BTreeMap, btree_map};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use memproto::NodeId;
use memproto::control::TrustedDevice;
use memproto::limits::NODE_NAME_LEN_MAX;
use serde::{Deserialize, Serialize};

use crate::hex;
use crate::home::{self, Existing, Home, HomeError};
use crate::platform;

/// The version of the file's layout that this node writes and reads.
const FILE_VERSION: u32 = 1;

/// The most devices in the file: a LAN has fewer, and the file stays small enough to be rewritten at each change.
pub const DEVICES_MAX: usize = 1_024;

/// The most addresses kept of one device: some networks' IPv4 and IPv6 addresses.
pub const ADDRESSES_MAX: usize = 8;

/// The shortest prefix of an id that names a device.
pub const ID_PREFIX_LEN_MIN: usize = 4;

/// Why the trusted devices cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read or written, or other users may write it.
    #[error(transparent)]
    File(#[from] HomeError),
    /// The file is not what a node wrote.
    #[error(
        "the file of trusted devices {} is damaged: {reason}. Correct it, or move it away: the node then trusts nobody \
         until you trust them again",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// [`DEVICES_MAX`] devices are trusted.
    #[error(
        "{DEVICES_MAX} devices are trusted, which is the most: remove one with `memcli trust remove NAME`"
    )]
    Full,
}

/// The layout of the file.
#[derive(Serialize, Deserialize)]
struct TrustFile {
    version: u32,
    devices: Vec<TrustedDevice>,
}

/// The trusted devices of this node. Cheap to clone; clones share the devices.
///
/// Changes write the file before they return (a few milliseconds of disk time) and have no effect where that fails.
#[derive(Clone, Debug)]
pub struct TrustStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    devices: Mutex<BTreeMap<NodeId, TrustedDevice>>,
    /// Nothing is written: a simulated node has no disk.
    #[cfg(any(test, feature = "simulation"))]
    in_memory: bool,
}

impl TrustStore {
    /// Reads the trusted devices of a folder. Without a file nobody is trusted.
    ///
    /// # Errors
    /// `File` where the file cannot be read or other users may write it; `Damaged` where it is not what a node wrote.
    pub fn load(home: &Home) -> Result<Self, TrustError> {
        let path = home.trust_file();
        let devices = match home::read_checked(&path, platform::check_unwritable_by_others)? {
            Some(bytes) => parse(&bytes).map_err(|reason| TrustError::Damaged {
                path: path.clone(),
                reason,
            })?,
            None => BTreeMap::new(),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                path,
                devices: Mutex::new(devices),
                #[cfg(any(test, feature = "simulation"))]
                in_memory: false,
            }),
        })
    }

    /// The trusted devices of a simulated node, in no file.
    #[cfg(any(test, feature = "simulation"))]
    pub fn in_memory(devices: impl IntoIterator<Item = TrustedDevice>) -> Self {
        let devices = devices.into_iter().map(|device| (device.id, device));
        Self {
            inner: Arc::new(Inner {
                path: PathBuf::new(),
                devices: Mutex::new(devices.collect()),
                in_memory: true,
            }),
        }
    }

    /// All devices, in the order of their names.
    pub fn list(&self) -> Vec<TrustedDevice> {
        let mut devices: Vec<_> = self.lock().values().cloned().collect();
        devices.sort_by(|a, b| a.name.cmp(&b.name).then(a.id.cmp(&b.id)));
        devices
    }

    /// Whether there is any.
    pub fn trusts_any(&self) -> bool {
        !self.lock().is_empty()
    }

    /// The device of this id.
    pub fn by_id(&self, id: NodeId) -> Option<TrustedDevice> {
        self.lock().get(&id).cloned()
    }

    /// Whether another device is trusted under the name of one that is not.
    pub fn has_namesake(&self, id: NodeId, name: &str) -> bool {
        let devices = self.lock();
        !devices.contains_key(&id) && devices.values().any(|device| device.name == name)
    }

    /// The devices that this name, id or prefix of an id (at least [`ID_PREFIX_LEN_MIN`] digits) may mean. An exact
    /// name goes before a prefix: where one or more devices have it, only they are meant.
    pub fn find(&self, text: &str) -> Vec<TrustedDevice> {
        let devices = self.list();
        let named: Vec<_> = devices
            .iter()
            .filter(|device| device.name == text)
            .cloned()
            .collect();
        if !named.is_empty() || text.len() < ID_PREFIX_LEN_MIN {
            return named;
        }
        let prefix = text.to_ascii_lowercase();
        devices
            .into_iter()
            .filter(|device| device.id.to_string().starts_with(&prefix))
            .collect()
    }

    /// Trusts a device, or replaces what is known of it. Of its addresses the first [`ADDRESSES_MAX`] are kept.
    ///
    /// # Errors
    /// `Full`; `File` where the file was not written. Then nothing changed.
    pub fn upsert(&self, mut device: TrustedDevice) -> Result<(), TrustError> {
        device.addresses.truncate(ADDRESSES_MAX);
        self.change(|devices| {
            if devices.len() >= DEVICES_MAX && !devices.contains_key(&device.id) {
                return Err(TrustError::Full);
            }
            devices.insert(device.id, device);
            Ok(true)
        })
    }

    /// Trusts a device no longer. Returns it, or `None` where it was not trusted.
    ///
    /// # Errors
    /// `File` where the file was not written. Then it is still trusted.
    pub fn remove(&self, id: NodeId) -> Result<Option<TrustedDevice>, TrustError> {
        let mut removed = None;
        self.change(|devices| {
            removed = devices.remove(&id);
            Ok(removed.is_some())
        })?;
        Ok(removed)
    }

    /// Takes note of the name and the address under which a trusted device was just reached. The address becomes the
    /// first one. Nothing is written where both are known as the newest; a device that is not trusted stays so.
    ///
    /// # Errors
    /// `File` where the file was not written.
    pub fn note_seen(&self, id: NodeId, name: &str, address: SocketAddr) -> Result<(), TrustError> {
        self.change(|devices| {
            let btree_map::Entry::Occupied(mut entry) = devices.entry(id) else {
                return Ok(false);
            };
            let device = entry.get_mut();
            if device.name == name && device.addresses.first() == Some(&address) {
                return Ok(false);
            }
            name.clone_into(&mut device.name);
            device.addresses.retain(|known| *known != address);
            device.addresses.insert(0, address);
            device.addresses.truncate(ADDRESSES_MAX);
            Ok(true)
        })
    }

    /// Changes how much a trusted device may use. Returns what it was before; a device that is not trusted stays so.
    ///
    /// # Errors
    /// `File` where the file was not written. Then nothing changed.
    pub fn set_quota(&self, id: NodeId, quota_bytes: u64) -> Result<Option<u64>, TrustError> {
        let mut before = None;
        self.change(|devices| {
            let device = devices.get_mut(&id);
            before = device.map(|device| std::mem::replace(&mut device.quota_bytes, quota_bytes));
            Ok(before.is_some_and(|before| before != quota_bytes))
        })?;
        Ok(before)
    }

    /// Changes a copy, writes it, and only then makes it what holds. `change` returns whether it changed anything.
    fn change(
        &self,
        change: impl FnOnce(&mut BTreeMap<NodeId, TrustedDevice>) -> Result<bool, TrustError>,
    ) -> Result<(), TrustError> {
        // Held while the file is written, so that two changes reach the disk in the order in which they were made.
        let mut devices = self.lock();
        let mut changed = devices.clone();
        if change(&mut changed)? {
            self.write(&changed)?;
            *devices = changed;
        }
        Ok(())
    }

    fn write(&self, devices: &BTreeMap<NodeId, TrustedDevice>) -> Result<(), TrustError> {
        #[cfg(any(test, feature = "simulation"))]
        if self.inner.in_memory {
            return Ok(());
        }
        let file = TrustFile {
            version: FILE_VERSION,
            devices: devices.values().cloned().collect(),
        };
        let mut json = serde_json::to_vec_pretty(&file).expect("strings, numbers and addresses are JSON");
        json.push(b'\n');
        home::write_atomic(&self.inner.path, &json, Existing::Replace)?;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, TrustedDevice>> {
        self.inner
            .devices
            .lock()
            .expect("no code panics while it holds the trusted devices")
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }
}

fn parse(bytes: &[u8]) -> Result<BTreeMap<NodeId, TrustedDevice>, String> {
    let file: TrustFile = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if file.version != FILE_VERSION {
        return Err(format!(
            "its version is {}, this node knows {FILE_VERSION}",
            file.version
        ));
    }
    if file.devices.len() > DEVICES_MAX {
        return Err(format!(
            "it has {} devices, at most {DEVICES_MAX} are allowed",
            file.devices.len()
        ));
    }
    let mut devices = BTreeMap::new();
    for device in file.devices {
        check(&device).map_err(|reason| format!("device {} ('{}'): {reason}", device.id, device.name))?;
        let id = device.id;
        if devices.insert(id, device).is_some() {
            return Err(format!("device {id} stands there twice"));
        }
    }
    Ok(devices)
}

fn check(device: &TrustedDevice) -> Result<(), &'static str> {
    let public_key = hex::decode_key(&device.public_key).ok_or("its key is not 64 hexadecimal digits")?;
    if NodeId::from_public_key(&public_key) != device.id {
        return Err("its id and its key do not belong together");
    }
    if device.name.is_empty() || device.name.len() > NODE_NAME_LEN_MAX {
        return Err("its name does not have 1 to 63 bytes");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
