// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes the keys and certificates of the emulated security firmware, in the shape of AMD's: a root
//! key (ARK) that signs itself, a signing key (ASK), and the key of the chip (VCEK) that signs
//! attestation reports (57230, "VCEK certificate and KDS interface").
//!
//! The results lie beside this crate and are part of the repository; run this to see that they come
//! out the same (`--check`), or to write them anew. Everything follows from [`SEED`], so everybody
//! can have the private keys. That is on purpose: nothing that they sign may be believed, and the
//! names in the certificates say so. Only the chip's private key is kept, for the emulator.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use emulator_defs::firmware::{CHIP_ID, TCB};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rsa::RsaPrivateKey;
use rsa::pss::SigningKey;
use rsa::signature::Keypair;
use sha2::{Digest, Sha256, Sha384};
use x509_cert::builder::{Builder, CertificateBuilder, Profile};
use x509_cert::der::asn1::{Ia5String, ObjectIdentifier, OctetString, UtcTime};
use x509_cert::der::{Encode, Length, Writer};
use x509_cert::ext::{AsExtension, Extension};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::SubjectPublicKeyInfoOwned;
use x509_cert::time::{Time, Validity};

/// What all keys come from.
const SEED: &str = "Parapet emulator: keys that everybody may have";
/// Bits of the keys of the authorities, as AMD's.
const RSA_BITS: usize = 4096;
/// Start of 2026 and end of 2049 (the last year that a two-digit date can name), in seconds since
/// 1970.
const VALID: (u64, u64) = (1_767_225_600, 2_524_607_999);

fn main() -> Result<()> {
    let check = std::env::args().nth(1).is_some_and(|arg| arg == "--check");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, contents) in make()? {
        let path = folder.join(name);
        if check {
            let found = std::fs::read(&path).with_context(|| format!("{}", path.display()))?;
            ensure!(found == contents, "{} differs", path.display());
        } else {
            std::fs::write(&path, contents).with_context(|| format!("{}", path.display()))?;
        }
    }
    Ok(())
}

/// All files: name and contents.
fn make() -> Result<[(&'static str, Vec<u8>); 4]> {
    let ark = authority("ARK")?;
    let ask = authority("ASK")?;
    let secret: [u8; 48] = Sha384::digest(format!("{SEED}: VCEK")).into();
    let vcek = p384::SecretKey::from_slice(&secret)?;

    let ark_name = name("ARK")?;
    let ask_name = name("ASK")?;
    let public =
        |key: &SigningKey<Sha384>| SubjectPublicKeyInfoOwned::from_key(key.verifying_key());
    let ark_certificate =
        certificate(Profile::Root, 1, ark_name.clone(), public(&ark)?, &ark, &[])?;
    let profile = Profile::SubCA {
        issuer: ark_name,
        path_len_constraint: Some(0),
    };
    let ask_certificate = certificate(profile, 2, ask_name.clone(), public(&ask)?, &ark, &[])?;
    let profile = Profile::Leaf {
        issuer: ask_name,
        enable_key_agreement: false,
        enable_key_encipherment: false,
    };
    let spki = SubjectPublicKeyInfoOwned::from_key(vcek.public_key())?;
    let vcek_certificate = certificate(
        profile,
        3,
        name("SEV-VCEK")?,
        spki,
        &ask,
        &chip_extensions()?,
    )?;
    Ok([
        ("ark.der", ark_certificate),
        ("ask.der", ask_certificate),
        ("vcek.der", vcek_certificate),
        ("vcek.key", secret.to_vec()),
    ])
}

fn random(purpose: &str) -> ChaCha20Rng {
    ChaCha20Rng::from_seed(Sha256::digest(format!("{SEED}: {purpose}")).into())
}

fn authority(who: &str) -> Result<SigningKey<Sha384>> {
    Ok(SigningKey::new(RsaPrivateKey::new(
        &mut random(who),
        RSA_BITS,
    )?))
}

fn name(who: &str) -> Result<Name> {
    let text = format!("CN={who}-EMULATED,O=EMULATED and worthless,OU=Parapet emulator");
    Ok(Name::from_str(&text)?)
}

fn certificate(
    profile: Profile,
    serial: u32,
    subject: Name,
    public: SubjectPublicKeyInfoOwned,
    signer: &SigningKey<Sha384>,
    extensions: &[Own],
) -> Result<Vec<u8>> {
    let time = |seconds| -> Result<Time> {
        Ok(Time::UtcTime(UtcTime::from_unix_duration(
            Duration::from_secs(seconds),
        )?))
    };
    let validity = Validity {
        not_before: time(VALID.0)?,
        not_after: time(VALID.1)?,
    };
    let mut builder = CertificateBuilder::new(
        profile,
        SerialNumber::from(serial),
        validity,
        subject,
        public,
        signer,
    )?;
    for extension in extensions {
        builder.add_extension(extension)?;
    }
    let salt = &mut random(&format!("salt {serial}"));
    Ok(builder.build_with_rng(salt)?.to_der()?)
}

/// What a verifier compares with a report (57230, table "VCEK certificate extensions").
fn chip_extensions() -> Result<Vec<Own>> {
    let own = |arcs: &str, value: Vec<u8>| -> Result<Own> {
        let oid = ObjectIdentifier::new(&format!("1.3.6.1.4.1.3704.1.{arcs}"))?;
        Ok(Own { oid, value })
    };
    let spl = |number: u8| number.to_der();
    Ok(vec![
        own("1", 1_u8.to_der()?)?,
        own("2", Ia5String::new("EMULATED")?.to_der()?)?,
        own("3.1", spl(TCB.boot_loader)?)?,
        own("3.2", spl(TCB.tee)?)?,
        own("3.4", spl(0)?)?,
        own("3.5", spl(0)?)?,
        own("3.6", spl(0)?)?,
        own("3.7", spl(0)?)?,
        own("3.3", spl(TCB.snp)?)?,
        own("3.8", spl(TCB.microcode)?)?,
        own("4", OctetString::new(CHIP_ID)?.to_der()?)?,
    ])
}

/// An extension with a number of AMD's and a value that is encoded already.
struct Own {
    oid: ObjectIdentifier,
    value: Vec<u8>,
}

impl Encode for Own {
    fn encoded_len(&self) -> x509_cert::der::Result<Length> {
        self.value.len().try_into()
    }

    fn encode(&self, writer: &mut impl Writer) -> x509_cert::der::Result<()> {
        writer.write(&self.value)
    }
}

impl x509_cert::der::oid::AssociatedOid for Own {
    // The number depends on the value, so `to_extension` has it.
    const OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1");
}

impl AsExtension for Own {
    fn critical(&self, _: &Name, _: &[Extension]) -> bool {
        false
    }

    fn to_extension(&self, _: &Name, _: &[Extension]) -> Result<Extension, x509_cert::der::Error> {
        Ok(Extension {
            extn_id: self.oid,
            critical: false,
            extn_value: OctetString::new(self.value.as_slice())?,
        })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_files_are_those_that_the_seed_makes() {
        for (name, contents) in super::make().unwrap() {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
            assert_eq!(std::fs::read(path).unwrap(), contents, "{name}");
        }
    }
}
