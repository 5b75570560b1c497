//! Tensors as bytes: the protocol's binary extension over REST, and the raw contents of gRPC.
//!
//! Numbers are little-endian and without gaps. A text is its length, in four bytes, and its UTF-8; a truth
//! value is one byte. There is no `null`: a floating-point number that is none (NaN) stands for a missing
//! value.

use super::Data;
use crate::cells::{Cell, Cells};
use crate::refusal::Refusal;

/// The values of a tensor's bytes.
pub(crate) fn decode(name: &str, datatype: &str, bytes: &[u8], values_max: usize) -> Result<Cells, Refusal> {
    let cells = match datatype {
        "BYTES" => texts(name, bytes, values_max)?,
        "BOOL" => each::<1>(name, datatype, bytes, values_max, |[byte]| Cell::Bool(byte != 0))?,
        "FP64" => each(name, datatype, bytes, values_max, |bytes| number(f64::from_le_bytes(bytes)))?,
        "FP32" => each(name, datatype, bytes, values_max, |bytes| number(f32::from_le_bytes(bytes).into()))?,
        "FP16" => each(name, datatype, bytes, values_max, |bytes| number(half(u16::from_le_bytes(bytes))))?,
        "BF16" => {
            each(name, datatype, bytes, values_max, |[low, high]| number(f32::from_le_bytes([0, 0, low, high]).into()))?
        }
        "INT8" => each(name, datatype, bytes, values_max, |bytes| Cell::Number(i8::from_le_bytes(bytes).into()))?,
        "INT16" => each(name, datatype, bytes, values_max, |bytes| Cell::Number(i16::from_le_bytes(bytes).into()))?,
        "INT32" => each(name, datatype, bytes, values_max, |bytes| Cell::Number(i32::from_le_bytes(bytes).into()))?,
        "INT64" => each(name, datatype, bytes, values_max, |bytes| Cell::Number(i64::from_le_bytes(bytes) as f64))?,
        "UINT8" => each::<1>(name, datatype, bytes, values_max, |[byte]| Cell::Number(byte.into()))?,
        "UINT16" => each(name, datatype, bytes, values_max, |bytes| Cell::Number(u16::from_le_bytes(bytes).into()))?,
        "UINT32" => each(name, datatype, bytes, values_max, |bytes| Cell::Number(u32::from_le_bytes(bytes).into()))?,
        "UINT64" => each(name, datatype, bytes, values_max, |bytes| Cell::Number(u64::from_le_bytes(bytes) as f64))?,
        _ => return Err(Refusal::bad(format!("the input {name:?} has datatype {datatype:?}, which is not known"))),
    };
    Ok(Cells { cells, nested: false })
}

/// The bytes of a tensor's values.
pub(crate) fn encode(data: &Data<'_>) -> Vec<u8> {
    match data {
        Data::Numbers(numbers) => numbers.iter().flat_map(|number| number.0.to_le_bytes()).collect(),
        Data::Text(texts) => {
            let mut bytes = Vec::with_capacity(texts.iter().map(|text| text.len() + 4).sum());
            for text in texts {
                // Labels are far shorter than this can count.
                bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
                bytes.extend(text.as_bytes());
            }
            bytes
        }
    }
}

/// A number, or the missing value.
pub(crate) fn number(number: f64) -> Cell {
    if number.is_nan() { Cell::Null } else { Cell::Number(number) }
}

/// Values of `SIZE` bytes each.
fn each<const SIZE: usize>(
    name: &str,
    datatype: &str,
    bytes: &[u8],
    values_max: usize,
    read: impl Fn([u8; SIZE]) -> Cell,
) -> Result<Vec<Cell>, Refusal> {
    let (values, rest) = bytes.as_chunks::<SIZE>();
    if !rest.is_empty() {
        let count = bytes.len();
        return Err(Refusal::bad(format!(
            "the input {name:?} has {count} bytes, which are no whole {datatype} values"
        )));
    }
    check_count(name, values.len(), values_max)?;
    Ok(values.iter().map(|bytes| read(*bytes)).collect())
}

fn texts(name: &str, mut bytes: &[u8], values_max: usize) -> Result<Vec<Cell>, Refusal> {
    let mut cells = Vec::new();
    while !bytes.is_empty() {
        let cut = || Refusal::bad(format!("text {} of the input {name:?} is cut off", cells.len()));
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (text, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        cells.push(text_cell(name, cells.len(), text)?);
        check_count(name, cells.len(), values_max)?;
        bytes = rest;
    }
    Ok(cells)
}

/// A text that should be UTF-8.
pub(crate) fn text_cell(name: &str, row: usize, bytes: &[u8]) -> Result<Cell, Refusal> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Refusal::bad(format!("row {row} of the input {name:?} is no text in UTF-8")))?;
    Ok(Cell::Text(text.into()))
}

fn check_count(name: &str, count: usize, values_max: usize) -> Result<(), Refusal> {
    if count <= values_max {
        return Ok(());
    }
    Err(Refusal::bad(format!("the input {name:?} has more than {values_max} rows")))
}

/// A number of 16 bits, as IEEE 754 has it: one of sign, five of exponent, ten of fraction.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let size = match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2_f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(datatype: &str, bytes: &[u8]) -> Vec<Cell> {
        decode("n", datatype, bytes, 100).unwrap().cells
    }

    #[test]
    fn halves_are_what_ieee_says() {
        for (bits, number) in [
            (0x3C00, 1.0),
            (0xC000, -2.0),
            (0x7BFF, 65504.0),
            (0x0400, 2_f64.powi(-14)),
            (0x0001, 2_f64.powi(-24)),
            (0x3555, 0.333_251_953_125),
            (0x7C00, f64::INFINITY),
        ] {
            assert_eq!(half(bits), number, "{bits:x}");
        }
        assert!(half(0x7E00).is_nan() && half(0x8000).is_sign_negative());
    }

    #[test]
    fn every_datatype_is_read() {
        let one = Cell::Number(1.0);
        for (datatype, bytes) in [
            ("FP64", &1_f64.to_le_bytes()[..]),
            ("FP32", &1_f32.to_le_bytes()),
            ("FP16", &0x3C00_u16.to_le_bytes()),
            ("BF16", &0x3F80_u16.to_le_bytes()),
            ("INT8", &[1]),
            ("UINT8", &[1]),
            ("INT16", &[1, 0]),
            ("UINT16", &[1, 0]),
            ("INT32", &[1, 0, 0, 0]),
            ("UINT32", &[1, 0, 0, 0]),
            ("INT64", &[1, 0, 0, 0, 0, 0, 0, 0]),
            ("UINT64", &[1, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            assert_eq!(numbers(datatype, bytes), std::slice::from_ref(&one), "{datatype}");
            assert_eq!(numbers(datatype, &[bytes, bytes].concat()), [one.clone(), one.clone()], "{datatype}");
            if bytes.len() > 1 {
                assert!(decode("n", datatype, &bytes[1..], 100).is_err(), "{datatype}");
            }
        }
        assert_eq!(numbers("INT8", &[0xFF]), [Cell::Number(-1.0)]);
        assert_eq!(numbers("FP32", &f32::NAN.to_le_bytes()), [Cell::Null]);
        assert_eq!(numbers("BOOL", &[0, 1, 2]), [false, true, true].map(Cell::Bool));
        assert!(decode("n", "FP8", &[1], 100).is_err());
        assert!(decode("n", "UINT8", &[0; 101], 100).is_err());
    }

    #[test]
    fn texts_are_read_and_written_back() {
        let bytes = encode(&Data::Text(vec!["gold", "", "茶"]));
        let cells = decode("n", "BYTES", &bytes, 3).unwrap().cells;
        assert_eq!(cells, ["gold", "", "茶"].map(|text| Cell::Text(text.into())));
        assert!(decode("n", "BYTES", &bytes, 2).unwrap_err().message.contains("more than 2 rows"));
        for end in [1, 3, 5, bytes.len() - 1] {
            assert!(decode("n", "BYTES", &bytes[..end], 9).unwrap_err().message.contains("cut off"), "{end}");
        }
        assert!(decode("n", "BYTES", &[1, 0, 0, 0, 0xFF], 9).unwrap_err().message.contains("UTF-8"));
        assert!(decode("n", "BYTES", &[0xFF; 8], 9).unwrap_err().message.contains("cut off"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, datatype in "(BYTES|BOOL|FP64|FP16|INT32|UINT8|X)") {
            let _ = decode("n", &datatype, &bytes, 10);
        }
    }
}
