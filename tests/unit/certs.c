/* SPDX-License-Identifier: MIT */
/* Certificates for tests: see certs.h. */
#include "config.h"

#include "certs.h"

#include <glib.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(what)      \
	do {             \
		if (!(what)) \
			g_error("certs: %s", #what); \
	} while (0)

static void
add_extension(X509 *x509, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509V3_set_ctx(&context, issuer, x509, NULL, NULL, 0);
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	CHECK(extension != NULL && X509_add_ext(x509, extension, -1) == 1);
	X509_EXTENSION_free(extension);
}

struct cert
cert_make(const struct cert_spec *spec)
{
	static int serial;
	struct cert cert = { X509_new(), EVP_EC_gen("P-256") };
	CHECK(cert.x509 != NULL && cert.key != NULL);
	X509 *issuer = spec->issuer != NULL ? spec->issuer->x509 : cert.x509;
	X509_set_version(cert.x509, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert.x509), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(cert.x509), spec->from_days * 86400L);
	X509_gmtime_adj(X509_getm_notAfter(cert.x509), spec->until_days * 86400L);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert.x509), "CN", MBSTRING_UTF8,
	                           (const unsigned char *)spec->common_name, -1, -1, 0);
	CHECK(X509_set_issuer_name(cert.x509, X509_get_subject_name(issuer)) == 1);
	CHECK(X509_set_pubkey(cert.x509, cert.key) == 1);
	add_extension(cert.x509, issuer, NID_basic_constraints,
	              spec->is_ca ? "critical,CA:TRUE" : "CA:FALSE");
	if (spec->names != NULL)
		add_extension(cert.x509, issuer, NID_subject_alt_name, spec->names);
	CHECK(X509_sign(cert.x509, spec->issuer != NULL ? spec->issuer->key : cert.key,
	                EVP_sha256()) > 0);
	return cert;
}

void
cert_free(struct cert *cert)
{
	X509_free(cert->x509);
	EVP_PKEY_free(cert->key);
}

void
cert_write(const struct cert *cert, const char *path, int with_key)
{
	FILE *file = fopen(path, "w");
	CHECK(file != NULL && PEM_write_X509(file, cert->x509) == 1);
	CHECK(!with_key || PEM_write_PrivateKey(file, cert->key, NULL, NULL, 0, NULL, NULL) == 1);
	CHECK(fclose(file) == 0);
}

SSL_CTX *
cert_server(const struct cert *cert, const struct cert *client_ca)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	CHECK(context != NULL && SSL_CTX_use_certificate(context, cert->x509) == 1 &&
	      SSL_CTX_use_PrivateKey(context, cert->key) == 1);
	if (client_ca != NULL) {
		CHECK(X509_STORE_add_cert(SSL_CTX_get_cert_store(context), client_ca->x509) == 1);
		SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
				   NULL);
	}
	return context;
}
