//! The body of the fuzz target of the file of trusted devices. See [`crate::fuzzing`].

use memproto::NodeId;
use memproto::limits::NODE_NAME_LEN_MAX;

use super::{DEVICES_MAX, FILE_VERSION, TrustFile, parse};
use crate::hex;

/// Reads a file that may be damaged, or made by hand. What is taken is a set of devices whose ids belong to their keys, and means the
/// same when it is written and read again; everything else has a reason.
pub fn trust_file(bytes: &[u8]) {
    match parse(bytes) {
        Err(reason) => assert!(!reason.is_empty()),
        Ok(devices) => {
            assert!(devices.len() <= DEVICES_MAX);
            for (id, device) in &devices {
                let key = hex::decode_key(&device.public_key).expect("a device has a key");
                assert_eq!((*id, *id), (device.id, NodeId::from_public_key(&key)));
                assert!((1..=NODE_NAME_LEN_MAX).contains(&device.name.len()));
            }
            let file = TrustFile {
                version: FILE_VERSION,
                devices: devices.values().cloned().collect(),
            };
            let written = serde_json::to_vec_pretty(&file).expect("what was JSON is JSON");
            assert_eq!(parse(&written), Ok(devices));
        }
    }
}
