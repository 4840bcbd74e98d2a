;;; smtps-explain-test.el --- What replies mean, where they are shown  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; What is said is tested in Python, against Emacs as well; here it is where
;; and when it is said.  The helper and the sandbox are real.

;;; Code:

(require 'smtps-real)
(require 'smtps-explain)
(require 'smtps-session)

(ert-deftest smtps-explain-test-any-text ()
  "Nothing signals, and no character of the server's is repeated."
  (should-not (smtps-explain-reply ""))
  (should-not (smtps-explain-reply "Ok"))
  (should-not (smtps-explain-reply "99 x"))
  (should-not (smtps-explain-keyword ""))
  (should-not (smtps-explain-verb ""))
  (should-not (smtps-explain-verb "frobnicate x"))
  (let ((pieces ["550" "-" " " "5.1.1" "5.7.26" "\n" "\r" "\0" "\e[31m" "\u202e" "gsmtp"
                 "Relay access denied" "x" "451" "\377" "İ"]))
    (random "smtps")
    (dotimes (_ 500)
      (let* ((text (mapconcat (lambda (_) (aref pieces (random (length pieces))))
                              (number-sequence 1 (random 8)) ""))
             (explained (smtps-explain-reply text :step 'rcpt :host text)))
        (ert-info (text :prefix "Text: ")
          (when explained
            (should (string-match-p "\\`[0-9]+[0-9. ]*: [A-Z]" (plist-get explained :short)))
            (should-not (string-match-p "[[:cntrl:]\u0080-\u009f\u202e]"
                                        (plist-get explained :short)))
            (should-not (string-match-p "[\0-\t\v-\37\177-\u009f\u202e]"
                                        (plist-get explained :long)))))))))

(ert-deftest smtps-explain-test-keeps-the-match ()
  (string-match "b" "abc")
  (smtps-explain-reply "550 5.1.1 x\n550 y" :host "smtp.gmail.com")
  (should (equal (match-data) '(1 2))))

(ert-deftest smtps-explain-test-is-read-once-and-late ()
  (let ((smtps-explain--book nil) (reads 0))
    (cl-letf* ((read (symbol-function 'smtps-explain--read))
               ((symbol-function 'smtps-explain--read)
                (lambda () (cl-incf reads) (funcall read))))
      (should (smtps-explain-reply "550 x"))
      (should (smtps-explain-keyword "size 1000"))
      (should (= reads 1)))))

(ert-deftest smtps-explain-test-without-the-file ()
  "Where the helper's source is missing, the command says so and ElDoc is silent."
  (let ((smtps-explain--book nil)
        (smtps-helper--file "/nonexistent/smtps-helper.el"))
    (with-temp-buffer
      (insert "recv> 550 x")
      (setq-local smtps-session--arguments nil)
      (should-not (smtps-explain-eldoc)))
    (should-error (smtps-explain "550") :type 'smtps-helper-missing)))

(defun smtps-explain-test-shown ()
  "Return the text of the explanation that is shown."
  (with-current-buffer "*smtps explanation*"
    (replace-regexp-in-string "\n +" " " (buffer-substring-no-properties
                                          (point-min) (point-max)))))

(ert-deftest smtps-explain-test-asked ()
  (save-window-excursion
    (pcase-dolist (`(,asked ,said)
                   '(("550 5.7.26" "Next: Have whoever runs the sender's domain set up SPF")
                     ("5.1.1" "You or the recipient's side can mend it.")
                     ("pipelining" "PIPELINING: takes several commands in one flight (RFC 2920)")
                     ("MAIL" "MAIL FROM:<ADDRESS> [NAME=VALUE...]: begins a mail")
                     ("auth" "AUTH: takes logins by these mechanisms (RFC 4954)")))
      (execute-kbd-macro (vconcat (kbd "M-x") "smtps-explain" (kbd "RET") asked (kbd "RET")))
      (should (string-search said (smtps-explain-test-shown))))
    (should-error (smtps-explain "frobnicate") :type 'user-error)))

(defun smtps-explain-test-at (text)
  "Return what ElDoc and the mouse say at TEXT in this session."
  (goto-char (point-min))
  (search-forward text)
  (forward-line 0)
  (let ((eldoc (run-hook-with-args-until-success 'eldoc-documentation-functions #'ignore))
        (help (get-text-property (point) 'help-echo)))
    (should (equal eldoc (if (functionp help)
                             (funcall help nil (current-buffer) (point))
                           eldoc)))
    eldoc))

(ert-deftest smtps-explain-test-session ()
  "Each reply and each command of a session is explained at its step."
  (smtps-real-with
    (let ((buffer (smtps-session "localhost" (smtps-real-property :port)
                                 :ca-file (smtps-real-property :ca-file))))
      (with-current-buffer buffer
        (unwind-protect
            (progn
              (smtps-real-until (save-excursion (goto-char (point-min))
                                                (search-forward "recv> 220" nil t)))
              (smtps-session--type '("ehlo x" "mail from:<a@b.c>" "frob" "auth login" "*"))
              ;; What is typed ahead of a login that fails is not sent.
              (smtps-real-until (save-excursion (goto-char (point-min))
                                                (search-forward "recv> 501" nil t)))
              (smtps-session--type '("quit"))
              (smtps-real-until (not (smtps-session--open-p)))
              (pcase-dolist
                  (`(,line . ,said)
                   '(("recv> 220 " . "220: The server is ready; EHLO comes next.")
                     ("send> ehlo x" . "EHLO NAME: greets the server")
                     ("recv> 250-sandbox" . "250: The server greets you")
                     ("recv> 250-PIPELINING" . "PIPELINING: takes several commands")
                     ("recv> 250-AUTH=LOGIN" . "AUTH: takes logins")
                     ("recv> 250 SIZE" . "SIZE: tells the largest message")
                     ("send> mail from" . "MAIL FROM:<ADDRESS>")
                     ("recv> 530 " . "530[ 0-9.]*: The server wants a login first")
                     ("send> auth login" . "AUTH MECHANISM")
                     ("recv> 501 " . "501[ 0-9.]*: The answer was not valid base64, or the login")
                     ("recv> 221 " . "221[ 0-9.]*: The server says goodbye")))
                (ert-info (line)
                  (should (string-match-p (concat "\\`" said)
                                          (or (smtps-explain-test-at line) "")))))
              (dolist (line '("send> frob" "send> *" "- Handshake"))
                (ert-info (line)
                  (should-not (smtps-explain-test-at line))))
              ;; What a 334 asks for is said in clear.
              (goto-char (point-min))
              (search-forward "recv> 334")
              (should (equal (get-text-property (line-beginning-position) 'help-echo)
                             "In clear: Username:"))
              (goto-char (point-min))
              (search-forward "recv> 530")
              (save-window-excursion
                (switch-to-buffer buffer)
                (call-interactively #'smtps-explain))
              (should (string-search "Next: Start TLS, log in, and then send."
                                     (smtps-explain-test-shown))))
          (kill-buffer buffer))))))

(ert-deftest smtps-explain-test-typed ()
  "A command is explained while it is typed; a message and a secret are not."
  (with-temp-buffer
    (insert "send> auth plain AHNlY3JldAo=")
    (setq-local smtps-session--data nil)
    (should (string-prefix-p "AUTH MECHANISM" (smtps-explain-eldoc)))
    (should-not (string-search "AHNl" (smtps-explain-eldoc)))
    (setq smtps-session--data t)
    (should-not (smtps-explain-eldoc))
    (setq smtps-session--data nil
          smtps-session--asked 'password)
    (should-not (smtps-explain-eldoc))))

(ert-deftest smtps-explain-test-flood ()
  "A reply without end costs no more than one of the helper's limit."
  (with-temp-buffer
    (dotimes (_ 10000) (insert (propertize "recv> 250-x\n" 'smtps-explain-step 'rset)))
    (goto-char (/ (point-max) 2))
    (should (= (length (cdr (smtps-explain--reply-at-point))) smtps-explain--reply-lines))
    (should (string-prefix-p "250: " (smtps-explain-eldoc)))))

(provide 'smtps-explain-test)
;;; smtps-explain-test.el ends here
