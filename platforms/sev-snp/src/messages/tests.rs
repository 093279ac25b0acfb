// SPDX-License-Identifier: MIT OR Apache-2.0
//! The dialogue held against a firmware that follows the specification, carried by hosts that do
//! not.

use super::*;

const KEY: [u8; 32] = [0x5A; 32];
const DATA: [u8; 64] = [1; 64];
const OTHER: [u8; 64] = [2; 64];

/// The firmware's side: it takes a message only with the counter that it waits for.
struct Firmware {
    expects: u64,
    /// Data of every report that was asked for.
    asked: Vec<[u8; 64]>,
    status: u32,
}

impl Firmware {
    fn new() -> Self {
        Self {
            expects: 1,
            asked: Vec::new(),
            status: 0,
        }
    }

    /// The answer to a message, or nothing where it is not one.
    fn answer(&mut self, request: &[u8]) -> Option<[u8; RESPONSE_SIZE]> {
        let (head, payload) = request.split_at(HEADER_SIZE);
        let header = Header::read_from_bytes(head).unwrap();
        if header.msg_seqno != self.expects || header.msg_type != TYPE_REPORT_REQ {
            return None;
        }
        let mut payload = payload[..usize::from(header.msg_size)].to_vec();
        cipher()
            .decrypt_in_place_detached(
                &nonce(header.msg_seqno),
                &head[AAD_OFFSET..],
                &mut payload,
                Tag::from_slice(&header.authtag[..16]),
            )
            .ok()?;
        let question = ReportRequest::read_from_bytes(&payload).unwrap();
        assert_eq!(question.vmpl, 0);
        self.asked.push(question.report_data);
        self.expects = self.expects.wrapping_add(2);
        let mut report = [0; REPORT_SIZE];
        report[0x50..0x90].copy_from_slice(&question.report_data);
        Some(seal(header.msg_seqno.wrapping_add(1), self.status, &report))
    }
}

fn cipher() -> Aes256Gcm {
    Aes256Gcm::new(&KEY.into())
}

fn seal(counter: u64, status: u32, report: &[u8]) -> [u8; RESPONSE_SIZE] {
    let mut head = ReportResponseHeader::new_zeroed();
    head.status = status;
    head.report_size = report.len() as u32;
    let mut payload = [head.as_bytes(), report].concat();
    let mut header = Header::new_zeroed();
    header.msg_seqno = counter;
    header.algo = ALGO_AES_256_GCM;
    header.hdr_version = 1;
    header.hdr_size = HEADER_SIZE as u16;
    header.msg_type = TYPE_REPORT_RSP;
    header.msg_version = 1;
    header.msg_size = payload.len() as u16;
    let tag = cipher()
        .encrypt_in_place_detached(
            &nonce(counter),
            &header.as_bytes()[AAD_OFFSET..],
            &mut payload,
        )
        .unwrap();
    header.authtag[..16].copy_from_slice(&tag);
    let mut answer = [0; RESPONSE_SIZE];
    answer[..HEADER_SIZE].copy_from_slice(header.as_bytes());
    answer[HEADER_SIZE..HEADER_SIZE + payload.len()].copy_from_slice(&payload);
    answer
}

/// What the host does with the next message.
#[derive(Clone, Copy)]
enum Host {
    Honest,
    Busy,
    /// Does not deliver, and says that certificates need so many pages.
    CertificatesNeed(u64),
    /// Says that the firmware failed.
    FirmwareError,
    /// Delivers, and says that it was busy.
    DeliversAndSaysBusy,
    /// Says that all is well and leaves what was in the response page.
    Nothing,
    /// Delivers, then changes this byte of the answer.
    Flips(usize),
    /// Refuses the request for a guest request.
    Refuses,
}

struct Carried<'a> {
    firmware: &'a mut Firmware,
    host: Vec<Host>,
    /// Every message that went through the host's hands, and whether certificates were asked for.
    sent: Vec<([u8; REQUEST_SIZE], bool)>,
    page: [u8; RESPONSE_SIZE],
}

impl<'a> Carried<'a> {
    /// A host that does what `host` says, one message after the other, and is honest from then on.
    fn by(firmware: &'a mut Firmware, host: &[Host]) -> Self {
        let mut host = host.to_vec();
        host.reverse();
        Self {
            firmware,
            host,
            sent: Vec::new(),
            page: [0; RESPONSE_SIZE],
        }
    }

    /// No counter was ever used for two texts.
    fn check_counters(&self) {
        for (a, _) in &self.sent {
            for (b, _) in &self.sent {
                assert!(
                    a == b || a[0x20..0x28] != b[0x20..0x28],
                    "two texts under one counter"
                );
            }
        }
    }
}

impl Carrier for Carried<'_> {
    fn carry(
        &mut self,
        request: &[u8; REQUEST_SIZE],
        response: &mut [u8; RESPONSE_SIZE],
        certificates: bool,
    ) -> Result<GuestRequestStatus, HostError> {
        self.sent.push((*request, certificates));
        let fine = GuestRequestStatus {
            firmware: 0,
            hypervisor: 0,
            pages_needed: 0,
        };
        let busy = GuestRequestStatus {
            hypervisor: 2,
            ..fine
        };
        let mut deliver = |page: &mut [u8; RESPONSE_SIZE]| match self.firmware.answer(request) {
            Some(answer) => {
                *page = answer;
                fine
            }
            None => GuestRequestStatus {
                firmware: 0x16,
                ..fine
            },
        };
        let status = match self.host.pop().unwrap_or(Host::Honest) {
            Host::Honest => deliver(&mut self.page),
            Host::Busy => busy,
            Host::CertificatesNeed(pages_needed) => GuestRequestStatus {
                hypervisor: 1,
                pages_needed,
                ..fine
            },
            Host::FirmwareError => GuestRequestStatus {
                firmware: 5,
                ..fine
            },
            Host::DeliversAndSaysBusy => {
                deliver(&mut self.page);
                busy
            }
            Host::Nothing => fine,
            Host::Flips(at) => {
                let status = deliver(&mut self.page);
                self.page[at] ^= 1;
                status
            }
            Host::Refuses => return Err(HostError::Refused(6)),
        };
        *response = self.page;
        Ok(status)
    }
}

fn channel() -> Channel {
    let mut channel = Channel::closed();
    channel.open(&KEY);
    channel
}

fn ask(
    channel: &mut Channel,
    carrier: &mut Carried<'_>,
    data: &[u8; 64],
) -> Result<[u8; REPORT_SIZE], EvidenceError> {
    let mut report = [0; REPORT_SIZE];
    let certificates = channel.report(carrier, data, &mut report, None)?;
    assert_eq!(certificates, Certificates::None);
    assert_eq!(report[0x50..0x90], *data, "an answer to another question");
    Ok(report)
}

#[test]
fn reports_follow_each_other() {
    let mut firmware = Firmware::new();
    let mut carrier = Carried::by(&mut firmware, &[]);
    let mut channel = channel();
    for data in [DATA, OTHER, DATA] {
        ask(&mut channel, &mut carrier, &data).unwrap();
    }
    carrier.check_counters();
    assert_eq!(firmware.asked, [DATA, OTHER, DATA]);
}

#[test]
fn a_channel_without_a_key_gives_nothing() {
    let mut firmware = Firmware::new();
    let mut carrier = Carried::by(&mut firmware, &[]);
    let result = ask(&mut Channel::closed(), &mut carrier, &DATA);
    assert_eq!(result, Err(EvidenceError::Closed));
    assert!(carrier.sent.is_empty());
}

#[test]
fn a_busy_host_gets_the_identical_message_again() {
    let mut firmware = Firmware::new();
    let mut carrier = Carried::by(&mut firmware, &[Host::Busy; 3]);
    ask(&mut channel(), &mut carrier, &DATA).unwrap();
    assert_eq!(carrier.sent.len(), 4);
    assert!(
        carrier
            .sent
            .iter()
            .all(|message| *message == carrier.sent[0])
    );
}

#[test]
fn a_caller_who_comes_back_gets_the_answer_to_the_message_that_waits() {
    let mut firmware = Firmware::new();
    let mut carrier = Carried::by(&mut firmware, &[Host::Busy; PATIENCE as usize]);
    let mut channel = channel();
    assert_eq!(
        ask(&mut channel, &mut carrier, &DATA),
        Err(EvidenceError::Busy)
    );
    ask(&mut channel, &mut carrier, &DATA).unwrap();
    assert!(
        carrier
            .sent
            .iter()
            .all(|message| *message == carrier.sent[0])
    );
    assert_eq!(firmware.asked, [DATA]);
}

#[test]
fn another_question_waits_until_the_first_is_answered() {
    let mut firmware = Firmware::new();
    let mut carrier = Carried::by(&mut firmware, &[Host::Busy; 2 * PATIENCE as usize]);
    let mut channel = channel();
    assert_eq!(
        ask(&mut channel, &mut carrier, &DATA),
        Err(EvidenceError::Busy)
    );
    assert_eq!(
        ask(&mut channel, &mut carrier, &OTHER),
        Err(EvidenceError::Busy)
    );
    ask(&mut channel, &mut carrier, &OTHER).unwrap();
    carrier.check_counters();
    assert_eq!(firmware.asked, [DATA, OTHER]);
}

#[test]
fn a_host_that_delivers_and_denies_it_ends_the_dialogue() {
    let mut firmware = Firmware::new();
    let mut carrier = Carried::by(&mut firmware, &[Host::DeliversAndSaysBusy]);
    let mut channel = channel();
    // The firmware refuses to see a message twice.
    assert_eq!(
        ask(&mut channel, &mut carrier, &DATA),
        Err(EvidenceError::Closed)
    );
    assert_eq!(
        ask(&mut channel, &mut carrier, &OTHER),
        Err(EvidenceError::Closed)
    );
    carrier.check_counters();
    assert_eq!(carrier.sent.len(), 2);
    assert_eq!(channel.key, [0; 32]);
}

#[test]
fn an_old_answer_is_no_answer() {
    let mut firmware = Firmware::new();
    let mut carrier = Carried::by(&mut firmware, &[Host::Honest, Host::Nothing]);
    let mut channel = channel();
    ask(&mut channel, &mut carrier, &DATA).unwrap();
    // The response page still holds the first answer, to the very same question.
    assert_eq!(
        ask(&mut channel, &mut carrier, &DATA),
        Err(EvidenceError::Closed)
    );
    assert_eq!(channel.key, [0; 32]);
}

#[test]
fn an_old_answer_with_a_new_counter_in_its_header_is_no_answer() {
    let mut firmware = Firmware::new();
    let mut carrier = Carried::by(&mut firmware, &[Host::Honest, Host::Nothing]);
    let mut channel = channel();
    ask(&mut channel, &mut carrier, &DATA).unwrap();
    carrier.page[0x20] = 4;
    assert_eq!(
        ask(&mut channel, &mut carrier, &DATA),
        Err(EvidenceError::Closed)
    );
}

#[test]
fn a_changed_answer_is_no_answer() {
    // Tag, counter, algorithm, versions, sizes, type, key, payload.
    for at in [
        0,
        0xF,
        0x20,
        0x27,
        0x30,
        0x31,
        0x32,
        0x33,
        0x34,
        0x35,
        0x36,
        0x37,
        0x3C,
        0x60,
        0x90,
        RESPONSE_SIZE - 1,
    ] {
        let mut firmware = Firmware::new();
        let mut carrier = Carried::by(&mut firmware, &[Host::Flips(at)]);
        let result = ask(&mut channel(), &mut carrier, &DATA);
        assert_eq!(result, Err(EvidenceError::Closed), "byte {at:#x}");
    }
}

#[test]
fn failures_burn_the_key() {
    for host in [
        Host::FirmwareError,
        Host::Refuses,
        Host::Nothing,
        Host::CertificatesNeed(1),
    ] {
        let mut firmware = Firmware::new();
        let mut carrier = Carried::by(&mut firmware, &[host]);
        let mut channel = channel();
        assert_eq!(
            ask(&mut channel, &mut carrier, &DATA),
            Err(EvidenceError::Closed)
        );
        assert_eq!(channel.key, [0; 32]);
        assert_eq!(
            ask(&mut channel, &mut carrier, &DATA),
            Err(EvidenceError::Closed)
        );
        assert_eq!(carrier.sent.len(), 1);
    }
}

#[test]
fn the_firmware_may_refuse_and_the_dialogue_goes_on() {
    let mut firmware = Firmware::new();
    firmware.status = 0x27;
    let mut channel = channel();
    let mut carrier = Carried::by(&mut firmware, &[]);
    assert_eq!(
        ask(&mut channel, &mut carrier, &DATA),
        Err(EvidenceError::Refused(0x27))
    );
    firmware.status = 0;
    let mut carrier = Carried::by(&mut firmware, &[]);
    ask(&mut channel, &mut carrier, &DATA).unwrap();
}

fn ask_with(
    channel: &mut Channel,
    carrier: &mut Carried<'_>,
    offered: u64,
) -> Result<Certificates, EvidenceError> {
    let room = Some(CertificateRoom { offered, most: 4 });
    channel.report(carrier, &DATA, &mut [0; REPORT_SIZE], room)
}

#[test]
fn too_little_room_for_certificates_costs_a_report_and_no_counter_twice() {
    let mut firmware = Firmware::new();
    let mut carrier = Carried::by(&mut firmware, &[Host::CertificatesNeed(3)]);
    let mut channel = channel();
    assert_eq!(
        ask_with(&mut channel, &mut carrier, 2),
        Err(EvidenceError::CertificatesNeed(3 * 4096)),
    );
    assert_eq!(
        ask_with(&mut channel, &mut carrier, 3),
        Ok(Certificates::Filled),
    );
    carrier.check_counters();
    let asked: Vec<_> = carrier
        .sent
        .iter()
        .map(|(_, certificates)| *certificates)
        .collect();
    assert_eq!(asked, [true, false, true]);
    assert_eq!(carrier.sent[0].0, carrier.sent[1].0);
}

#[test]
fn a_host_with_more_than_fits_or_with_nonsense_gives_a_report_without() {
    for pages in [0, 1, 2, 5, u64::MAX] {
        let mut firmware = Firmware::new();
        let mut carrier = Carried::by(&mut firmware, &[Host::CertificatesNeed(pages)]);
        assert_eq!(
            ask_with(&mut channel(), &mut carrier, 2),
            Ok(Certificates::None),
            "{pages} pages",
        );
    }
}

#[test]
fn counters_do_not_wrap() {
    let mut firmware = Firmware::new();
    firmware.expects = u64::MAX - 2;
    let mut carrier = Carried::by(&mut firmware, &[]);
    let mut channel = channel();
    channel.next = u64::MAX - 2;
    ask(&mut channel, &mut carrier, &DATA).unwrap();
    assert_eq!(channel.next, u64::MAX);
    assert_eq!(
        ask(&mut channel, &mut carrier, &DATA),
        Err(EvidenceError::Closed)
    );
    carrier.check_counters();
}

#[test]
fn an_answer_that_does_not_fit_is_refused() {
    let mut channel = channel();
    channel.response[HEADER_SIZE + 4..HEADER_SIZE + 8].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut report = [0; REPORT_SIZE];
    for size in [0, 8, 0x20, RESPONSE_SIZE - HEADER_SIZE, RESPONSE_SIZE] {
        assert_eq!(
            channel.take_report(size, &mut report),
            Err(EvidenceError::Refused(u32::MAX)),
        );
    }
}

#[test]
fn no_behaviour_of_the_host_breaks_the_two_rules() {
    let mut state = 1u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let (mut answered, mut closed) = (0, 0);
    for _ in 0..300 {
        let host: Vec<Host> = (0..40)
            .map(|_| match random(200) {
                0 => Host::FirmwareError,
                1 => Host::DeliversAndSaysBusy,
                2 => Host::Nothing,
                3 => Host::Flips(random(RESPONSE_SIZE as u64) as usize),
                4 => Host::Refuses,
                5..40 => Host::CertificatesNeed(random(8)),
                40..100 => Host::Busy,
                _ => Host::Honest,
            })
            .collect();
        let mut firmware = Firmware::new();
        let mut carrier = Carried::by(&mut firmware, &host);
        let mut channel = channel();
        for _ in 0..12 {
            let data = [random(3) as u8; 64];
            let room = match random(2) {
                0 => None,
                _ => Some(CertificateRoom {
                    offered: random(3),
                    most: 4,
                }),
            };
            let mut report = [0; REPORT_SIZE];
            match channel.report(&mut carrier, &data, &mut report, room) {
                Ok(_) => {
                    assert_eq!(report[0x50..0x90], data, "an answer to another question");
                    answered += 1;
                }
                Err(EvidenceError::Closed) => {
                    assert_eq!(channel.key, [0; 32]);
                    closed += 1;
                }
                Err(EvidenceError::Busy | EvidenceError::CertificatesNeed(_)) => (),
                Err(error) => panic!("{error:?}"),
            }
        }
        carrier.check_counters();
    }
    assert!(
        answered > 300 && closed > 300,
        "{answered} answered, {closed} closed"
    );
}
