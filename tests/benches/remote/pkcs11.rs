//! A plain loop on a token: one session, one signature after the other. The module is the one that the
//! node has initialised.

use std::sync::Arc;
use std::time::Instant;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, ObjectClass};
use kms_keys::{Ed25519Signature, KeyId, PublicKey, Signature, SigningScheme};
use kms_peers::SoftHsm;

use crate::{Loop, completed, digest, message};

pub fn plain(token: &SoftHsm, id: &KeyId, public_key: PublicKey) -> Loop {
    let module = Pkcs11::new(SoftHsm::module()).unwrap();
    // The node has done so already, and has logged in.
    drop(module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)));
    let slots = module.get_slots_with_token().unwrap().into_iter();
    let is_it = |label: &str| label.trim_end() == token.label();
    let mut slots = slots.filter(|slot| is_it(module.get_token_info(*slot).unwrap().label()));
    let slot = slots.next().unwrap();
    let wanted = [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::Label(id.as_str().as_bytes().to_vec()),
    ];
    Arc::new(move |end| {
        let session = module.open_rw_session(slot).unwrap();
        let key = session.find_objects(&wanted).unwrap()[0];
        let eddsa = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519));
        let mut made = 0;
        while Instant::now() < end {
            let message = message(made);
            match &public_key {
                PublicKey::Secp256k1(public_key) => {
                    let signed = session.sign(&Mechanism::Ecdsa, key, &digest(&message));
                    completed(public_key, &message, &signed.unwrap());
                }
                public_key => {
                    let signature = session.sign(&eddsa, key, &message).unwrap();
                    let signature = Ed25519Signature::from_bytes(&signature).unwrap();
                    let signature = Signature::Ed25519(signature);
                    public_key.verify(SigningScheme::Ed25519, &message, &signature).unwrap();
                }
            }
            made += 1;
        }
        made
    })
}
