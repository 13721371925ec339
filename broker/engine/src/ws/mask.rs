//! Masking of client frames (RFC 6455 section 5.3).

/// Removes the mask from `payload`, whose first byte is number `position` of the frame's payload.
pub fn unmask(payload: &mut [u8], mask: [u8; 4], position: usize) {
    let mut key = mask;
    key.rotate_left(position % 4);
    let key = u32::from_ne_bytes(key);
    let wide = (u64::from(key) << 32) | u64::from(key);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.to_ne_bytes().into_iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_the_definition_wherever_the_payload_is_cut(
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            mask in any::<[u8; 4]>(),
            cut in 0usize..200,
        ) {
            let plain: Vec<u8> =
                payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]).collect();
            let mut halves = payload;
            let cut = cut.min(halves.len());
            unmask(&mut halves[..cut], mask, 0);
            unmask(&mut halves[cut..], mask, cut);
            prop_assert_eq!(halves, plain);
        }
    }
}
