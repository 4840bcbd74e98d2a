;;; smtps-session-report-test.el --- Tests of reports  -*- lexical-binding: t; -*-

;;; Commentary:

;; By keys, in a session whose helper only listens.

;;; Code:

(require 'smtps-session-fake)
(require 'smtps-session-report)

(defconst smtps-session-report-test-talkative
  (append
   '("- From the outbox: “Merger plans”"
     "Resolving 'mx.secretcorp.com:587'..." "Connecting to '203.0.113.9:587'..."
     "Connecting to '[::ffff:203.0.113.9]:587'..."
     "- Certificate[0]:" " - subject 'CN=mx.secretcorp.com,O=Secret Corp'"
     " - issuer 'CN=Secret's own,O=Secret Corp', serial 0x1f2e3d4c"
     " - names: *.secretcorp.com, mailhub7, hubmail"
     " - SHA-256 fingerprint 00ff00ff" " - public key sha256//abc+/="
     " - valid from 2000-01-01 00:00:00 UTC to 3000-01-01 00:00:00 UTC"
     "- TLS: TLSv1.3, TLS_AES_256_GCM_SHA384 (256 bits), key exchange x25519"
     "recv> 220 mailbox9 ESMTP a640c23a62f3a-aa51f439si17.2" "send> EHLO marcosbox"
     "recv> 250-hubmail hello [2001:db8::7]" "recv> 250-SIZE 35651584" "recv> 250-AUTH CRAM-MD5"
     "recv> 250 X-ABC123DEF" "send> HELO marcosbox" "recv> 250-mail.other.org hello"
     "recv> 250 mailbox9 hello [2001:db8::7]"
     "send> AUTH CRAM-MD5")
   (list (concat "recv> 334 " (base64-encode-string "<17@mx.secretcorp.com>" t)))
   '("send> <the-sasl-response>" "recv> 535 5.7.8 no such user marco.maggi"
     "recv> 535 5.7.8 failed: bWFyY28ubWFnZ2k="
     "send> AUTH NTLM" "recv> 334 TlRMTVNTUAACAAAAU0VDUkVU"
     "send> AUTH SCRAM-SHA-256" "recv> 334 cj1OT05DRSxzPVNBTFQ9LGk9NDA5Ng=="
     "send> MAIL FROM:<marco.maggi@secretcorp.com> ENVID=deal42 SIZE=9" "recv> 250 2.1.0 Ok"
     "send> RCPT TO:<boss@other.org>" "recv> 250 2.1.5 Ok" "send> DATA" "recv> 354 go"
     "send> Subject: Über the merger" "send> X-Secretcorp-Deal: 42"
     "send> Message-ID: <20261124.17@secretcorp.com>" "recv> 250 noise"
     "send>" "send> marco: call." "send> ."
     "recv> 250 2.0.0 Ok: queued as 4XqKLm1z2Yz9tB (1732445123)"
     "- mx.secretcorp.com accepted the message: “250 2.0.0 Ok: queued as 4XqKLm1z2Yz9tB”."
     "send> vrfy secretary" "recv> 252 perhaps"
     "send> quit" "recv> 221 mx.secretcorp.com bye"))
  "A dialogue in which much can be known.")

(ert-deftest smtps-session-report-test-stand-ins ()
  (smtps-session-test-played '("mx.secretcorp.com:587") smtps-session-report-test-talkative
    (insert "half typed")
    (cl-letf (((symbol-function 'y-or-n-p) #'always))
      (execute-kbd-macro (vconcat (kbd "M-x") "smtps-session-report" (kbd "RET"))))
    (with-current-buffer (window-buffer)
      (let ((text (buffer-string)))
        (dolist (word '("secretcorp" "marco" "maggi" "boss" "secretary" "other.org" "203.0" "2001:db8"
                        "mailbox9" "marcosbox" "mailhub7" "hubmail" "merger" "00ff00" "abc+"
                        "Secret" "half typed" "1f2e3d4c" "00:00:00" "4XqKLm" "a640c23a"
                        "aa51f439" "1732445123" "deal" "Deal" "20261124.17"
                        ;; In base64, and what SCRAM says, or NTLM.
                        "c2VjcmV0Y29yc" "bWFyY28" "U0FMVD" "TlRMTVNT"))
          (should-not (string-search word text)))
        ;; It is still one, and the same has the same stand-in.
        (let ((exchanges (plist-get (smtps-session-keep-read text) :exchanges)))
          (should (equal (seq-find #'identity
                                   (mapcar (lambda (exchange) (plist-get exchange :message))
                                           exchanges))
                         '("Subject: éxxx xxx xxxxxx" "x-xxxxxxxxxx-xxxx: xx"
                           "Message-ID: <xxxxxxxx.xx@xxxxxxxxxx.xxx>"))))
        (should (string-match "^Host: \\(host[0-9]+\\.example\\)$" text))
        (should (string-search (format "recv> 221 %s bye" (match-string 1 text)) text))
        (should (string-match-p "recv> 250-host[0-9]+\\.example hello$" text))
        (should (string-search "valid from 2000-01-01 to 3000-01-01" text))
        ;; What helps to understand it stays.
        (dolist (line '("TLS: TLSv1.3, TLS_AES_256_GCM_SHA384" "recv> 250-SIZE 35651584"
                        "recv> 250-AUTH CRAM-MD5" "recv> 250 2.1.0 Ok\n" "failed: "
                        " ENVID=... SIZE=9" "issuer '...', serial 0x..."
                        "recv> 334 cj0uLi4scz0uLi4saT00MDk2\n"
                        "- From the outbox: “xxxxxx xxxxx”"))
          (should (string-search line text)))
        (should (string-match "queued as \\(id[0-9]+\\) (id[0-9]+)$" text))
        (should (string-search (format "queued as %s”." (match-string 1 text)) text))
        (should (string-match "MAIL FROM:<\\(user[0-9]+\\)@" text))
        (should (string-search (concat "no such user " (match-string 1 text)) text))))))

(ert-deftest smtps-session-report-test-the-report-tells-versions ()
  (smtps-session-test-played '("mx.test:587") '("recv> 220 x")
    (cl-letf (((symbol-function 'y-or-n-p) #'ignore))
      (execute-kbd-macro (vconcat (kbd "M-x") "smtps-session-report" (kbd "RET"))))
    (funcall (plist-get (alist-get 'hello smtps-session-test-keys) :then)
             '(:version "0.1.0" :wire 1 :python "3.11.2" :openssl "OpenSSL 3.0"))
    (with-current-buffer (window-buffer)
      (should (string-prefix-p
               (format "Helper: 0.1.0, wire 1, Python 3.11.2\nTLS: OpenSSL 3.0\nEmacs: %s"
                       emacs-version)
               (buffer-string)))
      (should (string-search "\nHost: mx.test\nPort: 587\n" (buffer-string)))
      (should (= (length (plist-get (smtps-session-keep-read (buffer-string)) :exchanges))
                 1)))))

;;; smtps-session-report-test.el ends here
