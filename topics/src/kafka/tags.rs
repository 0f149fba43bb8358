//! Which record a delivery report is about.

/// librdkafka gives a pointer-sized tag back with a failed record: partition in the upper 16 bits, offset + 1 below.
pub(super) fn tag_of((partition, offset): (i32, i64)) -> usize {
    ((partition as u16 as usize) << 48) | ((offset as usize + 1) & 0xffff_ffff_ffff)
}

/// The source of a tag; none where there is none.
pub(super) fn source_of(tag: usize) -> Option<(i32, i64)> {
    let offset = (tag & 0xffff_ffff_ffff) as i64;
    (offset > 0).then(|| ((tag >> 48) as i32, offset - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_gives_its_source_back() {
        for source in [(0, 0), (7, 12), (65_535, (1 << 48) - 2)] {
            assert_eq!(source_of(tag_of(source)), Some(source));
        }
        assert_eq!(source_of(0), None);
    }
}
