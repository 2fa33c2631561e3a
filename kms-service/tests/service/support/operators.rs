//! Operators of the test node: a good one and four bad ones.

use std::panic::resume_unwind;
use std::sync::{Arc, Condvar, Mutex};

use kms_keys::{KeyType, Operator, OperatorError, SecretRef, X25519Operator};
use kms_service::Operators;

pub enum TestOperators {}

/// Panics.
pub const PANICS: &str = "panics";
/// Gives more than it promises.
pub const OVERFLOWS: &str = "overflows";
/// Refuses every input.
pub const REFUSES: &str = "refuses";
/// Comes to no end before [`let_go`].
pub const HANGS: &str = "hangs";

static LET_GO: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// Ends all that hang, for good.
pub fn let_go() {
    *LET_GO.0.lock().unwrap() = true;
    LET_GO.1.notify_all();
}

struct Bad(&'static str);

impl Operators for TestOperators {
    fn operators() -> Vec<Arc<dyn Operator>> {
        let bad = [PANICS, OVERFLOWS, REFUSES, HANGS];
        let bad = bad.into_iter().map(|name| Arc::new(Bad(name)) as Arc<dyn Operator>);
        bad.chain([Arc::new(X25519Operator) as Arc<dyn Operator>]).collect()
    }
}

impl Operator for Bad {
    fn name(&self) -> &'static str {
        self.0
    }

    fn key_type(&self) -> KeyType {
        KeyType::Ed25519
    }

    fn max_output(&self) -> usize {
        4
    }

    fn run(&self, _: SecretRef<'_>, _: &[u8], out: &mut Vec<u8>) -> Result<(), OperatorError> {
        match self.0 {
            PANICS => resume_unwind(Box::new("as the test has it")),
            OVERFLOWS => out.extend([0; 5]),
            HANGS => drop(LET_GO.1.wait_while(LET_GO.0.lock().unwrap(), |go| !*go).unwrap()),
            _ => return Err(OperatorError::Refused("as the test has it".into())),
        }
        Ok(())
    }
}
