;;; smtps-eshell-test.el --- Tests of smtps in Eshell  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A real Eshell, in which commands are typed.

;;; Code:

(require 'ert)
(require 'cl-lib)
(require 'smtps-eshell-driver)
(require 'smtps-real)
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
    (should (string-prefix-p "smtps: This is not base64: of 3 characters"
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

(ert-deftest smtps-eshell-test-what-lisp-refuses-has-failed ()
  (smtps-eshell-test-with
    (pcase-dolist (`(,line ,status) '(("smtps send #<buffer smtps-no-such>" "64")
                                      ("smtps check #<buffer smtps-no-such>" "64")
                                      ("smtps base64 -d VXN" "65")))
      (should-not (string-search "WENT" (smtps-eshell-test-run
                                         (concat line " && *echo WE''NT"))))
      (smtps-eshell-test-run line)
      (should (equal (smtps-eshell-test-run "echo $?") status)))
    (kill-buffer "smtps-no-such")))

(ert-deftest smtps-eshell-test-a-helper-at-an-odd-place ()
  (smtps-eshell-test-with
    (let* ((program (expand-file-name "it's $HOME *" directory))
           (smtps-helper-command (list program "a b" "rpc")))
      (with-temp-file program
        (insert "#!/bin/sh\nprintf '<%s>' \"$@\" \"$INSIDE_EMACS\"; echo\n"))
      (set-file-modes program #o700)
      (should (string-match-p "\\`<a b><sandbox><x y><[0-9.]+,eshell>\\'"
                              (smtps-eshell-test-run "smtps sandbox 'x y'"))))))

(ert-deftest smtps-eshell-test-on-another-machine ()
  (smtps-eshell-test-with
    (cl-letf (((symbol-function 'file-remote-p) (lambda (&rest _) "/ssh:x:")))
      (should-error (eshell/smtps "mx.test") :type 'user-error))
    ;; That it failed is known without running anything there.
    (cl-letf (((symbol-function 'file-remote-p)
               (lambda (file &rest _) (and (equal file directory) "/ssh:x:"))))
      (should (string-search "runs on this machine only"
                             (smtps-eshell-test-run "smtps check mx.test"))))
    (should (= (smtps-eshell-test-status) 64))))

(ert-deftest smtps-eshell-test-without-a-helper ()
  (smtps-eshell-test-with
    (let ((smtps-helper-command '("/no/such/helper")))
      (cl-letf (((symbol-function 'smtps-helper-program)
                 (lambda () (signal 'smtps-rpc-error '("The helper is not installed")))))
        (should (string-search "The helper is not installed"
                               (smtps-eshell-test-run "smtps check mx.test")))
        (should (= (smtps-eshell-test-status) 78))))))

(ert-deftest smtps-eshell-test-a-word-written-wrongly ()
  (smtps-eshell-test-really
    (should (string-search "did you mean “send”?"
                           (smtps-eshell-test-run "smtps sned -t mail")))
    (should (= (smtps-eshell-test-status) 64))
    (let ((told (smtps-eshell-test-run "smtps send -t mail --account=wrok")))
      (should (string-search "There is no account called \"wrok\"; there is: " told))
      (should-not (string-search "toml" told)))
    (should (= (smtps-eshell-test-status) 78))
    (should (string-search "--account: expected one argument"
                           (smtps-eshell-test-run "smtps send -t mail --account")))
    (should (= (smtps-eshell-test-status) 64))))

(ert-deftest smtps-eshell-test-a-flush-asks-auth-source ()
  (smtps-eshell-test-really
    (smtps-eshell-test-write "mail" "From: me@a.test" "To: x@c.test" "" "Text")
    ;; What asks us now is not there any more when it is sent.
    (smtps-eshell-test-run
     (format (concat "smtps send -t mail --queue --host localhost --port %d --user %s"
                     " --tls implicit --ca-file '%s'")
             (smtps-real-property :port) (smtps-real-property :user)
             (smtps-real-property :ca-file)))
    (should (= (smtps-eshell-test-status) 0))
    (smtps-eshell-test-run "smtps outbox flush")
    (should (= (smtps-eshell-test-status) 0))
    (should (= (length (smtps-eshell-test-arrived)) 1))))

(ert-deftest smtps-eshell-test-a-login-that-auth-source-knows ()
  (smtps-eshell-test-really
    (smtps-eshell-test-write "mail" "From: me@a.test" "To: x@c.test" "" "Text")
    (plist-put (cdar smtps-accounts) :user nil)
    ;; As if the file were encrypted: it might ask for a passphrase.
    (cl-letf (((symbol-function 'smtps-credentials--quiet-source-p) #'ignore)
              ((symbol-function 'smtps-credentials--can-ask-p) #'always))
      (smtps-eshell-test-run "smtps send -t mail")
      (should (= (smtps-eshell-test-status) 0)))
    (should (= (length (smtps-eshell-test-arrived)) 1))))

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

(defmacro smtps-eshell-test-really (&rest body)
  "Evaluate BODY in an Eshell of its own with a home, a sandbox and an account.
The password is in a file that only Emacs knows of."
  (declare (indent 0) (debug t))
  `(smtps-real-with
     (setq auth-sources (list (expand-file-name "known-to-emacs" smtps-real-home)))
     (smtps-real-own-account)
     (let ((temporary-file-directory (expand-file-name "t/" smtps-real-home)))
       (make-directory temporary-file-directory)
       (smtps-eshell-test-with
         ,@body
         (smtps-eshell-test-until (not smtps-eshell--runs))
         (should-not (directory-files temporary-file-directory nil "\\`smtps-"))))))

(ert-deftest smtps-eshell-test-what-a-dead-emacs-left-is-swept ()
  (smtps-eshell-test-with
    (let* ((temporary-file-directory directory)
           (process (start-process "dead" nil "true"))
           (dead (expand-file-name (format "smtps-%d-x" (process-id process))))
           (own (expand-file-name (format "smtps-%d-x" (emacs-pid))))
           (other (expand-file-name "smtps-other"))
           (run (smtps-eshell--make-run)))
      (smtps-eshell-test-until (not (process-live-p process)))
      (dolist (name (list dead own other))
        (make-directory name)
        (write-region "" nil (expand-file-name "accounts.toml" name) nil 'silent))
      (smtps-eshell--file run "message")
      (should (equal (mapcar #'file-exists-p (list dead own other)) '(nil t t)))
      (smtps-eshell--end run)
      (should (equal (directory-files directory t "\\`smtps-")
                     (sort (list own other) #'string<))))))

(defun smtps-eshell-test-write (name &rest lines)
  "Write LINES into the file NAME of the Eshell's directory."
  (let ((coding-system-for-write 'binary))
    (write-region (encode-coding-string (concat (string-join lines "\n") "\n") 'utf-8)
                  nil (expand-file-name name) nil 'silent)))

(defun smtps-eshell-test-arrived ()
  "Return the mails that the sandbox has, a list of texts with LF."
  (mapcar (lambda (file)
            (with-temp-buffer
              (set-buffer-multibyte nil)
              (insert-file-contents-literally file)
              (decode-coding-string (string-replace "\r\n" "\n" (buffer-string)) 'utf-8)))
          (directory-files-recursively (smtps-real-property :maildir) "\\`[^.]")))

(defun smtps-eshell-test-status ()
  "Return the exit status of the last command, as Eshell tells it."
  (string-to-number (smtps-eshell-test-run "echo $?")))

(ert-deftest smtps-eshell-test-send-a-file ()
  (smtps-eshell-test-really
    (let ((sandbox (cdar smtps-accounts)))
      (setq smtps-accounts
            `(("other" :host "nosuch.invalid" :user "x" :from "other@a.test")
              ("it's \"mine\"" :from ("me@a.test" "@b.test") ,@sandbox)))
      (smtps-eshell-test-write "mail" "From: me@a.test" "To: you@c.test" "Bcc: she@c.test"
                               "" ".A dot, and é")
      (should (string-match-p "\\`smtps: localhost accepted the message for 2 recipients: .*\\'"
                              (smtps-eshell-test-run "smtps send -t mail")))
      (should (= (smtps-eshell-test-status) 0))
      (pcase-let ((`(,mail) (smtps-eshell-test-arrived)))
        (should (string-suffix-p "\n\n.A dot, and é\n" mail))
        (should-not (string-search "Bcc" mail)))
      (should (equal (smtps-real-state) '(sent)))
      (should (equal (plist-get (car (smtps-outbox-entries)) :recipients)
                     '("you@c.test" "she@c.test")))
      ;; Another sender, another account.
      (smtps-eshell-test-write "mail" "From: other@a.test" "To: you@c.test" "" "x")
      (smtps-eshell-test-run "smtps send -t mail")
      (should (= (smtps-eshell-test-status) 68))
      ;; What is typed wins.
      (smtps-eshell-test-run "smtps send --account \"it's \\\"mine\\\"\" -t mail")
      (should (= (smtps-eshell-test-status) 0))
      (should (= (length (smtps-eshell-test-arrived)) 2))
      (should-not smtps-real-questions))))

(ert-deftest smtps-eshell-test-send-what-comes-by-a-pipe ()
  (smtps-eshell-test-really
    (smtps-eshell-test-write "mail" "From: me@a.test" "To: x@c.test" "" "Text")
    ;; A pipeline leaves no terminal to ask on; Emacs is asked, and asks.
    (delete-file (car auth-sources))
    (setq smtps-real-answers (list (smtps-real-property :password)))
    (smtps-eshell-test-run "*cat mail | smtps send to@host.test")
    (should (= (smtps-eshell-test-status) 0))
    (should (= (length (smtps-eshell-test-arrived)) 1))
    (should (equal (plist-get (car (smtps-outbox-entries)) :recipients) '("to@host.test")))
    (should (= (length smtps-real-questions) 1))
    ;; Now it is known.
    (smtps-eshell-test-run "*cat mail | smtps send to@host.test")
    (should (= (smtps-eshell-test-status) 0))
    (should (= (length (smtps-eshell-test-arrived)) 2))))

(ert-deftest smtps-eshell-test-a-password-that-is-refused-is-forgotten ()
  (smtps-eshell-test-really
    (smtps-eshell-test-write "mail" "From: me@a.test" "To: x@c.test" "" "Text")
    (delete-file (car auth-sources))
    (setq smtps-real-answers (list "wr0ng secret" (smtps-real-property :password)))
    (smtps-eshell-test-run "smtps send -t mail")
    (should (= (smtps-eshell-test-status) 77))
    (should-not (string-search "wr0ng" (smtps-eshell-test-text)))
    (smtps-eshell-test-run "smtps send -t mail")
    (should (= (smtps-eshell-test-status) 0))
    ;; Nothing is given: nothing is sent.
    (smtps-credentials-forget-all)
    (setq smtps-real-answers (list ""))
    (smtps-eshell-test-run "smtps send -t mail")
    (should (= (smtps-eshell-test-status) 78))
    (should (= (length (smtps-eshell-test-arrived)) 1))))

(ert-deftest smtps-eshell-test-no-secret-is-passed ()
  (smtps-eshell-test-really
    (let* ((program (expand-file-name "seen" directory))
           (smtps-helper-command (list program "rpc"))
           (password (smtps-real-property :password)))
      (smtps-real-account :password-command (concat "echo " password))
      (with-temp-file program
        (insert "#!/bin/sh\nprintf '%s\n' \"$@\"; env; ls -la \"${3%/*}\" \"${5%/*}\"; cat \"$5\"\n"))
      (set-file-modes program #o700)
      (let ((told (smtps-eshell-test-run "smtps send -t mail")))
        (should (string-search "host = \"localhost\"" told))
        (should (string-match-p "^drwx------.* \\.$" told))
        (should (string-match-p "accounts\\.toml$" told))
        (should-not (string-search password told))))))

(ert-deftest smtps-eshell-test-a-user-without-an-account ()
  (smtps-eshell-test-really
    (setq smtps-accounts nil)
    (should (string-search
             "was accepted by"
             (smtps-eshell-test-run
              (format "smtps check localhost:%d --tls implicit --ca-file '%s' --user %s"
                      (smtps-real-property :port) (smtps-real-property :ca-file)
                      (smtps-real-property :user)))))
    (should (= (smtps-eshell-test-status) 0))))

(ert-deftest smtps-eshell-test-send-a-buffer ()
  (smtps-eshell-test-really
    (with-current-buffer (get-buffer-create "draft")
      (message-mode)
      (insert "From: Me <me@a.test>\nTo: Jürgen <you@c.test>\nBcc: she@c.test\n"
              "Fcc: sent\nSubject: Grüße\n" mail-header-separator "\nTschüß\n"))
    (let ((before (with-current-buffer "draft" (buffer-string))))
      (smtps-eshell-test-run "smtps send #<buffer draft>")
      (should (= (smtps-eshell-test-status) 0))
      (should (equal (with-current-buffer "draft" (buffer-string)) before)))
    (pcase-let ((`(,mail) (smtps-eshell-test-arrived)))
      (should (string-match-p "^Subject: =\\?utf-8\\?" mail))
      (should (string-match-p "^Content-Type: text/plain" mail))
      (should-not (string-match-p "^[BF]cc:\\|text follows" mail)))
    (should (equal (plist-get (car (smtps-outbox-entries)) :recipients)
                   '("she@c.test" "you@c.test")))
    (should (equal (plist-get (car (smtps-outbox-entries)) :from) "me@a.test"))
    ;; The typed sender wins.
    (smtps-eshell-test-run "smtps send -t -f bounces@a.test #<buffer draft>")
    (should (member "bounces@a.test" (mapcar (lambda (entry) (plist-get entry :from))
                                             (smtps-outbox-entries))))
    (should (string-search "is empty; nothing was sent"
                           (smtps-eshell-test-run "smtps send #<buffer typo>")))
    (with-current-buffer "draft"
      (erase-buffer)
      (insert "No header"))
    (smtps-eshell-test-run "smtps send #<buffer draft>")
    (should (= (length (smtps-eshell-test-arrived)) 2))
    (should (string-search "A buffer can only be sent"
                           (smtps-eshell-test-run "smtps check #<buffer draft>")))))

(ert-deftest smtps-eshell-test-results-go-on ()
  (smtps-eshell-test-really
    (should (equal (smtps-eshell-test-run "smtps base64 Username: | *base64 -d | *wc -c")
                   "9"))
    (should (string-prefix-p "SMTPS " (smtps-eshell-test-run "smtps --version | *tr a-z A-Z")))
    (smtps-eshell-test-run "smtps base64 Username: > coded")
    (smtps-eshell-test-run "smtps check localhost > checked")
    (should (= (smtps-eshell-test-status) 0))
    (should (equal (with-temp-buffer
                     (insert-file-contents (expand-file-name "coded"))
                     (buffer-string))
                   "VXNlcm5hbWU6"))
    (should (string-search "was accepted by" (smtps-eshell-test-run "*cat checked")))
    (should (equal (smtps-eshell-test-run "echo ${smtps base64 Username:}") "VXNlcm5hbWU6"))
    (should (string-match-p "\\`The outbox .* is empty" (smtps-eshell-test-run "smtps outbox")))
    ;; The command of that name is the user's own.
    (should-not (fboundp 'eshell/base64))))

(ert-deftest smtps-eshell-test-interrupt ()
  (smtps-eshell-test-really
    (smtps-eshell-test-type "smtps localhost")
    (smtps-eshell-test-until (string-suffix-p "send> " (smtps-eshell-test-text)))
    (should (string-search "- Status: The certificate is trusted" (smtps-eshell-test-text)))
    (call-interactively (key-binding (kbd "C-c C-c")))
    (smtps-eshell-test-until (not eshell-current-command))
    (should-not (string-search "Traceback" (smtps-eshell-test-text)))
    (should (/= (smtps-eshell-test-status) 0))))

(defun smtps-eshell-test-ask-for-a-password (process _text)
  "Be a server that says to PROCESS what looks like a prompt."
  (process-send-string process "250 x\r\n"))

(ert-deftest smtps-eshell-test-a-server-asks-for-no-password ()
  (let ((server (make-network-process
                 :name "asking" :server t :host 'local :service t :family 'ipv4 :noquery t
                 :filter #'smtps-eshell-test-ask-for-a-password
                 :log (lambda (_server client _text)
                        (process-send-string client "220 Your mail password: \r\n")))))
    (unwind-protect
        (smtps-eshell-test-with
          (cl-letf (((symbol-function 'read-passwd)
                     (lambda (&rest _) (ert-fail "A password was asked for"))))
            (smtps-eshell-test-type
             (format "smtps 127.0.0.1:%d --tls none" (process-contact server :service)))
            (smtps-eshell-test-until (string-suffix-p "send> " (smtps-eshell-test-text)))
            ;; The prompt might come later than the line.
            (let ((run (car smtps-eshell--runs)))
              (funcall (process-filter (smtps-eshell--run-process run))
                       (smtps-eshell--run-process run) "\nrecv> 220 Your mail password: \n")
              (funcall (process-filter (smtps-eshell--run-process run))
                       (smtps-eshell--run-process run) "recv> 220 password:"))
            (accept-process-output nil 0.1)
            (call-interactively (key-binding (kbd "C-c C-c")))
            (smtps-eshell-test-until (not eshell-current-command))))
      (delete-process server))))

(defun smtps-eshell-test-completions (text)
  "Return what completes TEXT, typed at the prompt."
  (goto-char (point-max))
  (insert text)
  (unwind-protect
      (pcase-let ((`(,begin ,end ,table . ,_)
                   (run-hook-with-args-until-success 'completion-at-point-functions)))
        (all-completions (buffer-substring-no-properties begin end) table))
    (delete-region (- (point-max) (length text)) (point-max))))

(ert-deftest smtps-eshell-test-completion ()
  (smtps-eshell-test-with
    (let ((smtps-accounts '(("work" :host "relay.example.org" :from ("me@a.test" "@b.test"))
                            ("home" :host "mail.example.com" :user "me")))
          (smtps-outbox-directory (expand-file-name "outbox" directory))
          (smtps-eshell--help nil))
      (smtps-eshell-test-write "relay-mail" "x")
      (pcase-dolist
          (`(,text . ,completions)
           '(("smtps s" "session" "send" "sandbox")
             ("smtps relay" "relay.example.org")
             ("smtps check m" "mail.example.com")
             ("smtps send --account w" "work")
             ("smtps send -t --account h" "home")
             ("smtps send -f m" "me@a.test")
             ("smtps send -t relay" "relay-mail")
             ("smtps send --tls s" "starttls")
             ("smtps outbox f" "file" "flush")
             ("smtps send --all" "--all-or-none")
             ("smtps relay.example.org --ca" "--ca-file")
             ("smtps base64 --d" "--decode")))
        (should (equal (list text (sort (smtps-eshell-test-completions text) #'string<))
                       (list text (sort completions #'string<)))))
      ;; The verbs are those that there are.
      (should (equal (let ((found nil))
                       (with-temp-buffer
                         (insert (eshell-command-result "smtps --help"))
                         (goto-char (point-min))
                         (while (re-search-forward "^       smtps \\([^ ]+\\)" nil t)
                           (push (match-string 1) found)))
                       (nreverse found))
                     smtps-eshell--verbs)))))

(provide 'smtps-eshell-test)
;;; smtps-eshell-test.el ends here
