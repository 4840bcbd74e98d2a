;;; smtps-eshell-test.el --- Tests of smtps in Eshell  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A real Eshell, in which commands are typed.

;;; Code:

(require 'ert)
(require 'cl-lib)
(require 'smtps-eshell-driver)
(require 'smtps-helper)
(require 'smtps-wire)

(ert-deftest smtps-eshell-test-base64 ()
  (smtps-eshell-test-with
    (should (equal (smtps-eshell-test-run "smtps base64 Username:") "VXNlcm5hbWU6"))
    (should (equal (smtps-eshell-test-run "smtps base64 'pässwörd 100%'")
                   (smtps-base64-encode-string "pässwörd 100%")))
    ;; A text, though it looks like a number.
    (should (equal (smtps-eshell-test-run "smtps base64 007")
                   (smtps-base64-encode-string "007")))
    (should (equal (smtps-eshell-test-run "smtps base64 -d VXNlcm5hbWU6") "Username:"))
    (should (string-prefix-p "This is not base64: of 3 characters"
                             (smtps-eshell-test-run "smtps base64 -d VXN")))))

(ert-deftest smtps-eshell-test-base64-of-what-is-piped-in ()
  (smtps-eshell-test-with
    (should (equal (smtps-eshell-test-run "*printf %s Username: | smtps base64")
                   "VXNlcm5hbWU6"))))

(ert-deftest smtps-eshell-test-send-what-is-piped-in ()
  (smtps-eshell-test-with
    ;; In its pipe, a terminal, Eshell of Emacs 28 tells the end only twice.
    (should (string-match-p
             "connection refused"
             (smtps-eshell-test-run
              (concat "*echo Subject: x | smtps send -f me@a.test you@a.test"
                      " --host localhost --port 1 --outbox box"))))
    (should (equal (smtps-eshell-test-run "echo $?") "69"))))

(ert-deftest smtps-eshell-test-from-lisp ()
  (should (string-prefix-p "smtps " (eshell-command-result "smtps --version")))
  (should (equal (eshell-command-result "smtps base64 Username:") "VXNlcm5hbWU6"))
  (should (string-prefix-p "smtps "
                           (with-temp-buffer
                             (eshell-command "smtps --version" t)
                             (buffer-string))))
  (should-error (eshell/smtps "--version") :type 'user-error))

(ert-deftest smtps-eshell-test-exit-status ()
  (smtps-eshell-test-with
    (should (string-prefix-p "smtps " (smtps-eshell-test-run "smtps --version")))
    (should (equal (smtps-eshell-test-run "echo $?") "0"))
    (smtps-eshell-test-run "smtps session --no-such-option")
    (should (equal (smtps-eshell-test-run "echo $?") "64"))))

(ert-deftest smtps-eshell-test-a-helper-at-an-odd-place ()
  (smtps-eshell-test-with
    (let* ((program (expand-file-name "it's $HOME *" directory))
           (smtps-helper-command (list program "a b" "rpc")))
      (with-temp-file program
        (insert "#!/bin/sh\nprintf '<%s>' \"$@\" \"$INSIDE_EMACS\"; echo\n"))
      (set-file-modes program #o700)
      (should (string-match-p "\\`<a b><x y><[0-9.]+,eshell>\\'"
                              (smtps-eshell-test-run "smtps 'x y'"))))))

(ert-deftest smtps-eshell-test-on-another-machine ()
  (smtps-eshell-test-with
    (cl-letf (((symbol-function 'file-remote-p) (lambda (&rest _) "/ssh:x:")))
      (should-error (eshell/smtps "mx.test") :type 'user-error))))

(ert-deftest smtps-eshell-test-the-dialogue ()
  (smtps-eshell-test-with
    (let* ((told "")
           (process (make-process
                     :name "sandbox" :noquery t :connection-type 'pipe
                     :command (append (smtps-helper-program)
                                      (list "sandbox" "--report" "sexp" "--directory"
                                            (expand-file-name "sandbox" directory)))
                     :filter (lambda (_process text) (setq told (concat told text))))))
      (unwind-protect
          (let (sandbox
                (said (lambda (text)
                        (smtps-eshell-test-until
                         (string-search text (smtps-eshell-test-text)))
                        (smtps-eshell-test-until
                         (string-suffix-p "send> " (smtps-eshell-test-text))))))
            (smtps-eshell-test-until (string-suffix-p "\n" told))
            (setq sandbox (cdr (smtps-wire-read (string-trim-right told))))
            (smtps-eshell-test-type
             (format "smtps localhost:%d --tls implicit --ca-file '%s'"
                     (plist-get sandbox :port) (plist-get sandbox :ca-file)))
            (funcall said "recv> 220 ")
            (smtps-eshell-test-type "ehlo localhost.localdomain")
            (funcall said "recv> 250 SIZE")
            (smtps-eshell-test-type "mail from:<a@b.c>")
            (funcall said "recv> 530")
            (smtps-eshell-test-type "auth login")
            (funcall said "recv> 334 VXNlcm5hbWU6")
            ;; The password is read in the minibuffer, and kept nowhere.
            (let* ((password (smtps-base64-encode-string (plist-get sandbox :password)))
                   (prompts nil))
              (cl-letf (((symbol-function 'read-passwd)
                         (lambda (prompt &rest _)
                           (push prompt prompts)
                           (copy-sequence password))))
                (smtps-eshell-test-type
                 (smtps-base64-encode-string (plist-get sandbox :user)))
                (funcall said "recv> 235"))
              (should (= (length prompts) 1))
              (should (string-search "send> <the-base64-password>" (smtps-eshell-test-text)))
              (should-not (string-search password (smtps-eshell-test-text)))
              (should-not (member password (ring-elements eshell-history-ring))))
            ;; Nothing is shown twice since.
            (smtps-eshell-test-type "noop")
            (funcall said "recv> 250 ")
            (should-not (string-search "noop\nnoop" (smtps-eshell-test-text)))
            (smtps-eshell-test-type "quit")
            (smtps-eshell-test-until (not eshell-current-command))
            (should (string-match-p "\nrecv> 221 .*\nrecv> - Peer has closed the TLS connection\n"
                                    (smtps-eshell-test-text)))
            (should (equal (smtps-eshell-test-run "echo $?") "0")))
        ;; Killed, it would leave files behind.
        (signal-process process 'SIGTERM)
        (smtps-eshell-test-until (not (process-live-p process)))))))

(provide 'smtps-eshell-test)
;;; smtps-eshell-test.el ends here
