;;; smtps-session-replay-test.el --- Tests of the replay of a session  -*- lexical-binding: t; -*-

;;; Commentary:

;; On the real helper: a session with the sandbox is saved, replayed against it,
;; and the saved one is played as a server.

;;; Code:

(require 'smtps-real)
(require 'smtps-session)
(require 'smtps-session-keep)
(require 'smtps-session-replay)
(require 'smtps-session-report)

(defmacro smtps-session-replay-test-with (&rest body)
  "Evaluate BODY with the sandbox as the account, its password in ~/.authinfo."
  (declare (indent 0) (debug t))
  `(smtps-real-with
     (smtps-real-authinfo
      (format "machine localhost login %s password \"%s\""
              (smtps-real-property :user) (smtps-real-property :password)))
     (setq smtps-accounts
           (list (list "sandbox" :host "localhost"
                       :port (smtps-real-property :starttls-port)
                       :tls 'starttls
                       :ca-file (smtps-real-property :ca-file)
                       :user (smtps-real-property :user))))
     ,@body))

(defun smtps-session-replay-test-until (regexp)
  "Wait until REGEXP is shown in this buffer."
  (smtps-real-until (string-match-p regexp (buffer-substring-no-properties
                                            (point-min) (point-max)))))

(defun smtps-session-replay-test-type (line regexp)
  "Type LINE and RET, and wait until REGEXP is shown behind it."
  (let ((from (marker-position smtps-session--prompt-start)))
    (goto-char (point-max))
    (insert line)
    (execute-kbd-macro (kbd "RET"))
    (smtps-real-until (string-match-p regexp (buffer-substring-no-properties
                                              from (point-max))))))

(defun smtps-session-replay-test-record (&rest lines)
  "Type a dialogue with LINES behind the login, and return its transcript."
  (with-current-buffer (smtps-session "localhost" (smtps-real-property :starttls-port))
    (smtps-session-replay-test-until "^recv> 220 ")
    (smtps-session-replay-test-type "ehlo here" "^recv> 250 ")
    (smtps-session-replay-test-type "starttls" "^- Handshake was completed")
    (smtps-session-replay-test-type "ehlo here" "^recv> 250 ")
    (smtps-session-replay-test-type "auth login" "^recv> 334 ")
    (smtps-session-replay-test-type
     (smtps-base64-encode-string (smtps-real-property :user)) "^recv> 334 ")
    (smtps-session-replay-test-type
     (smtps-base64-encode-string (smtps-real-property :password)) "^recv> 235 ")
    (dolist (line lines)
      (smtps-session-replay-test-type line (if (string-match-p "\\`[A-Z]" line)
                                               (concat "^send> " (regexp-quote line) "$")
                                             "^recv> ")))
    (smtps-session-replay-test-type "quit" "The session is closed")
    (let ((file (expand-file-name "saved" smtps-real-home)))
      (smtps-session-save file)
      file)))

(defconst smtps-session-replay-test-mail
  '("mail from:<from-address@poste.it>" "rcpt to:<to-address@other-host.it>" "data"
    "Subject: Grüße" "Text." ".")
  "A mail, as it is typed.")

(ert-deftest smtps-session-replay-test-all-is-said-again ()
  (smtps-session-replay-test-with
    (let* ((file (apply #'smtps-session-replay-test-record
                        smtps-session-replay-test-mail))
           (text (smtps-real-file "saved"))
           asked)
      (should-not (string-search (smtps-real-property :password) text))
      (should-not (string-search (smtps-base64-encode-string
                                  (smtps-real-property :password))
                                 text))
      (setq smtps-real-answers
            (list (format "localhost:%d" (smtps-real-property :starttls-port))))
      (with-current-buffer
          (cl-letf (((symbol-function 'read-file-name) (lambda (&rest _) file))
                    ((symbol-function 'y-or-n-p)
                     (lambda (prompt) (cdr (push prompt asked)))))
            ;; A mail is not sent twice without a word.
            (should-error (call-interactively #'smtps-session-replay) :type 'user-error)
            (push (format "localhost:%d" (smtps-real-property :starttls-port))
                  smtps-real-answers)
            (call-interactively #'smtps-session-replay)
            (should (equal (car asked)
                           (format "This sends the mail to to-address@other-host.it once \
more, by localhost:%d; go on? "
                                   (smtps-real-property :starttls-port))))
            (window-buffer))
        (smtps-session-replay-test-until "^- The replay is done: .*, all as recorded$")
        (should (string-search "send> Subject: Grüße\nsend> Text.\nsend> .\nrecv> 250"
                               (buffer-string)))
        (should-not (string-search (smtps-base64-encode-string
                                    (smtps-real-property :password))
                                   (buffer-string))))
      (should (= 2 (length (directory-files
                            (expand-file-name "new" (smtps-real-property :maildir))
                            nil "\\`[^.]")))))))

(ert-deftest smtps-session-replay-test-a-difference-is-told ()
  (smtps-session-replay-test-with
    (let ((file (smtps-session-replay-test-record "noop" "rset"))
          (text (smtps-real-file "saved")))
      (dolist (case '(("recv> 250 \\(.*\\)\\(\n.*send> rset\\)" "recv> 252 \\1\\2"
                       "^! Recorded was “252 .*\n\\(?:.*\n\\)*- The replay is done: .* 1 other")
                      ("recv> 250 \\(.*\\)\\(\n.*send> rset\\)" "recv> 550 \\1\\2"
                       "^! Recorded was “550 .*\n! The replay ends here: the next 2 ")
                      ("recv> 235.*" "recv> 535 no"
                       "^! Recorded was “535 no”\n! The replay ends here: the next 3 ")
                      ;; A password that was typed wrong, and then right.
                      ("send> auth login"
                       "send> auth login\n recv> 334 VXNlcm5hbWU6\n send> \
<the-base64-username>\n recv> 334 UGFzc3dvcmQ6\n send> <the-base64-password>\n recv> \
535 no\n send> auth login"
                       "^- A login that was refused then.*\n\\(?:.*\n\\)*- The replay is done: \
.*, all as recorded")
                      ("auth login" "auth cram-md5"
                       "^! The replay ends here: the next 3 ")
                      ("send> noop" "send> BDAT 7"
                       "^! “BDAT 7” can't be said again\n! The replay ends here")
                      ("send> noop" "send> <the-sasl-response>"
                       "^! “<the-sasl-response>” can't be said again")))
        (let ((changed (replace-regexp-in-string (nth 0 case) (nth 1 case) text)))
          (should-not (equal changed text))
          (write-region changed nil file nil 'silent))
        (with-current-buffer
            (smtps-session-replay file (format "localhost:%d" (smtps-real-property
                                                               :starttls-port)))
          (smtps-session-replay-test-until (nth 2 case))
          (should-not (smtps-session-replay--running-p)))))))

(ert-deftest smtps-session-replay-test-no-password-no-connection ()
  (smtps-session-replay-test-with
    (let ((file (smtps-session-replay-test-record)))
      (smtps-real-authinfo "machine elsewhere login x password y")
      (setq smtps-credentials--memory nil)
      (setq smtps-real-answers (list (lambda () (signal 'quit nil))))
      (let ((buffers (length (buffer-list))))
        (should (condition-case nil
                    (prog1 nil
                      (smtps-session-replay file (format "localhost:%d"
                                                         (smtps-real-property
                                                          :starttls-port))))
                  ((quit user-error) t)))
        (should (<= (length (buffer-list)) buffers))))))

(ert-deftest smtps-session-replay-test-a-saved-session-is-a-server ()
  "So is a report of it, with stand-ins: it has all that was said."
  (let ((file (make-temp-file "smtps-saved")) read)
    (smtps-session-replay-test-with
      (apply #'smtps-session-replay-test-record smtps-session-replay-test-mail)
      (with-current-buffer (with-current-buffer (window-buffer) (smtps-session-report t))
        (smtps-session-replay-test-until "^Helper: ")
        (write-region nil nil file nil 'silent)))
    (setq read (smtps-session-keep-read-file file))
    (should (equal (plist-get read :tls) "starttls"))
    (unwind-protect
        (let ((smtps-real-sandbox-words (list "--replay" file)))
          (smtps-session-replay-test-with
            ;; Its AUTH LOGIN is said again, too.
            (with-current-buffer
                (smtps-session-replay file (format "localhost:%d" (smtps-real-property
                                                                   :starttls-port)))
              (smtps-session-replay-test-until "^- The replay is done: .*, all as"))
            (with-current-buffer
                (smtps-session "localhost" (smtps-real-property :starttls-port))
              (smtps-session-replay-test-until "^recv> 220 ")
              (smtps-session-replay-test-type
               "noop" "^recv> 554 5.5.0 The recording has “ehlo .*” here"))))
      (delete-file file))))

;;; smtps-session-replay-test.el ends here
