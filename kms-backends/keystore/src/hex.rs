//! Bytes as hexadecimal text in the store's JSON parts (`#[serde(with = "crate::hex")]`). Nothing
//! secret goes this way: texts are not wiped.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(
    bytes: &impl AsRef<[u8]>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&base16ct::lower::encode_string(bytes.as_ref()))
}

pub(crate) fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<Vec<u8>>,
{
    let text = String::deserialize(deserializer)?;
    let bytes = base16ct::lower::decode_vec(text.as_bytes())
        .map_err(|_| D::Error::custom("expected lower-case hexadecimal digits"))?;
    let len = bytes.len();
    T::try_from(bytes)
        .map_err(|_| D::Error::custom(format_args!("{len} bytes, expected another number")))
}
