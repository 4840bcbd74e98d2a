;;; smtps-session-lead-test.el --- Tests of what smtps does in a session  -*- lexical-binding: t; -*-

;;; Commentary:

;; The keys, on the real helper and the sandbox.

;;; Code:

(require 'smtps-real)
(require 'smtps-session-fake)
(require 'smtps-session-lead)

(defmacro smtps-session-lead-test-with (port &rest body)
  "Evaluate BODY in a session with the sandbox's PORT, a key of its report."
  (declare (indent 1) (debug t))
  `(smtps-real-with
     (smtps-real-authinfo
      (format "machine localhost port %d login %s password \"%s\""
              (smtps-real-property ,port) (smtps-real-property :user)
              (smtps-real-property :password)))
     (setq smtps-accounts
           (list (list "sandbox" :host "localhost"
                       :port (smtps-real-property ,port)
                       :tls (if (eq ,port :port) 'implicit 'starttls)
                       :ca-file (smtps-real-property :ca-file)
                       :user (smtps-real-property :user))))
     (with-current-buffer (smtps-session "localhost" (smtps-real-property ,port))
       (smtps-session-lead-test-until "^recv> 220 ")
       ,@body)))

(defun smtps-session-lead-test-text ()
  "Return what is shown."
  (buffer-substring-no-properties (point-min) (point-max)))

(defun smtps-session-lead-test-until (regexp)
  "Wait until REGEXP is shown, and nothing is waited for."
  (smtps-real-until (and (string-match-p regexp (smtps-session-lead-test-text))
                         (zerop smtps-session--owed))))

(defun smtps-session-lead-test-until-sent (line)
  "Wait until LINE has left."
  (smtps-real-until (cl-some (lambda (sent) (string-prefix-p line sent))
                             (smtps-session-lead-test-sent))))

(defun smtps-session-lead-test-press (keys)
  "Press KEYS, as in `kbd'."
  (execute-kbd-macro (kbd keys)))

(defun smtps-session-lead-test-sent ()
  "Return the lines that left."
  (let (lines)
    (dolist (line (split-string (smtps-session-lead-test-text) "\n"))
      (when (and (string-prefix-p "send> " line) (not (equal line "send> ")))
        (push (substring line 6) lines)))
    (nreverse lines)))

(ert-deftest smtps-session-lead-test-by-hand-and-by-keys ()
  (smtps-session-lead-test-with :port
    (smtps-session-lead-test-press "C-c C-e")
    (smtps-session-lead-test-until "^- localhost offers .*AUTH")
    (should (cl-some (lambda (offer) (string-prefix-p "AUTH " offer))
                     smtps-session-offers))
    (smtps-session-lead-test-press "C-c C-a")
    (smtps-session-lead-test-until "^- Logged in by PLAIN")
    (smtps-real-until (equal smtps-session-user (smtps-real-property :user)))
    (should (equal smtps-session-mechanism "PLAIN"))
    (should-error (smtps-session-log-in) :type 'user-error)
    ;; What is half typed stays as it is.
    (insert "mail from:<a@b.c>")
    (smtps-session-lead-test-press "RET")
    (smtps-session-lead-test-until "recv> 250 .*MAIL FROM")
    (insert "rcpt to:<d@e.f>")
    (smtps-session-lead-test-press "RET")
    (smtps-session-lead-test-until "recv> 250 .*RCPT TO")
    (with-temp-buffer
      (rename-buffer "a draft")
      (insert "From: a@b.c\nTo: d@e.f\nBcc: secret@e.f\nSubject: Grüße\n\n.dot\nText\n")
      (message-mode)
      (goto-char (point-min))
      (re-search-forward "^$")
      (insert mail-header-separator)
      (let ((draft (current-buffer)))
        (with-current-buffer (car (smtps-session-lead-test-buffers))
          (cl-letf (((symbol-function 'read-buffer)
                     (lambda (&rest _) (buffer-name draft))))
            (call-interactively #'smtps-session-send-message))
          (smtps-session-lead-test-until "^- localhost accepted the message")))
      (should (buffer-modified-p))
      (should (string-search "Bcc: secret@e.f" (buffer-string))))
    (let ((lines (smtps-session-lead-test-sent)))
      (should (equal (car lines) "EHLO [127.0.0.1]"))
      (should (equal (nth 1 lines) "AUTH PLAIN <the-encoded-auth-credentials>"))
      (dolist (line '("DATA" "..dot" "Text" "."))
        (should (member line lines)))
      (should-not (cl-some (lambda (line) (string-search "secret@e.f" line)) lines)))
    (smtps-session-lead-test-press "C-c C-d")
    (smtps-session-lead-test-until "- The session is closed")))

(defun smtps-session-lead-test-buffers ()
  "Return the session buffers."
  (seq-filter (lambda (buffer)
                (with-current-buffer buffer (derived-mode-p 'smtps-session-mode)))
              (buffer-list)))

(ert-deftest smtps-session-lead-test-starttls-and-a-whole-transaction ()
  (smtps-session-lead-test-with :starttls-port
    (should-not smtps-session-tls)
    (smtps-session-lead-test-press "C-c C-s")
    (smtps-session-lead-test-until "^- localhost offers .*AUTH")
    (should (string-prefix-p "TLS" smtps-session-tls))
    (should-error (smtps-session-start-tls) :type 'user-error)
    (smtps-session-lead-test-press "C-c C-a")
    (smtps-session-lead-test-until "^- Logged in by ")
    (let ((file (expand-file-name "mail.eml" smtps-real-home)))
      (write-region "From: a@b.c\nTo: d@e.f\nSubject: x\n\nBy file\n" nil file nil 'silent)
      (cl-letf (((symbol-function 'read-file-name) (lambda (&rest _) file))
                ((symbol-function 'read-string)
                 (lambda (prompt initial &rest _)
                   (if (string-prefix-p "RCPT" prompt)
                       (progn (should (equal initial "d@e.f")) "d@e.f, g@h.i")
                     (should (equal initial "a@b.c"))
                     initial))))
        (let ((current-prefix-arg '(4)))
          (call-interactively #'smtps-session-send-transaction))
        (smtps-session-lead-test-until "accepted the message for 2 recipients")))
    (let ((lines (smtps-session-lead-test-sent)))
      (should (member "RCPT TO:<g@h.i>" lines))
      (should (member "By file" lines)))))

(ert-deftest smtps-session-lead-test-a-wrong-password-is-forgotten ()
  (smtps-session-lead-test-with :port
    (smtps-real-authinfo
     (format "machine localhost port %d login %s password wrong-one"
             (smtps-real-property :port) (smtps-real-property :user)))
    (smtps-session-lead-test-press "C-c C-a")
    (smtps-session-lead-test-until "^! localhost refused the login (PLAIN)")
    (smtps-real-until (null smtps-credentials--memory))
    (should-not (string-search "wrong-one" (smtps-session-lead-test-text)))
    ;; On the same connection, with another.
    (smtps-real-authinfo
     (format "machine localhost port %d login %s password \"%s\""
             (smtps-real-property :port) (smtps-real-property :user)
             (smtps-real-property :password)))
    (smtps-session-lead-test-press "C-c C-a")
    (smtps-session-lead-test-until "^- Logged in by ")))

(ert-deftest smtps-session-lead-test-the-name-of-the-last-time ()
  "After a refusal only the password is typed anew, be it for a mail."
  (smtps-real-with
    (let ((user-mail-address "root@host")
          (user (smtps-real-property :user))
          (password (smtps-real-property :password))
          (smtps-session--names nil)
          prompts)
      (cl-flet ((press (keys)
                  (let ((minibuffer-setup-hook
                         (list (lambda () (push (minibuffer-prompt) prompts)))))
                    (execute-kbd-macro keys)))
                (open ()
                  (set-buffer (smtps-session "localhost" (smtps-real-property :port)
                                             :tls 'implicit
                                             :ca-file (smtps-real-property :ca-file)))
                  (smtps-session-lead-test-until "^recv> 220 ")))
        (open)
        (setq smtps-real-answers '("wrong"))
        (press (vconcat (kbd "C-c C-a") user (kbd "RET")))
        (smtps-session-lead-test-until "^! localhost refused the login")
        (setq smtps-real-answers '("wrong"))
        (press (kbd "C-c C-a RET"))
        (smtps-session-lead-test-until "^! localhost refused.*\n\\(?:.*\n\\)*! localhost refused")
        (should (equal prompts (list (format "User (default %s): " user)
                                     "User (default root@host): ")))
        (with-temp-buffer
          (insert "From: a@b.c\nTo: d@e.f\nSubject: x\n\nText\n")
          (let ((mail (current-buffer)))
            (with-current-buffer (car (smtps-session-lead-test-buffers))
              (cl-letf (((symbol-function 'read-string)
                         (lambda (_prompt initial &rest _) initial)))
                ;; No password, no mail.
                (setq smtps-real-answers '(""))
                (should-error (smtps-session-send-transaction mail) :type 'user-error)
                (setq smtps-real-answers (list password))
                (smtps-session-send-transaction mail))
              (smtps-session-lead-test-until "^- localhost accepted the message")
              (should (equal smtps-session-user user)))))
        ;; On another connection it asks for no login, but knows who it was.
        (open)
        (should-not smtps-session-refused-account)
        (setq prompts nil)
        (press (kbd "C-c C-a RET"))
        (should (equal prompts (list (format "User (default %s): " user))))
        (smtps-session-lead-test-until "^- Logged in")))))

(ert-deftest smtps-session-lead-test-the-name-of-the-sandbox ()
  (smtps-real-with
    (let ((user-mail-address "root@host"))
      (set-buffer (smtps-sandbox))
      (smtps-session-lead-test-until "^recv> 220 ")
      (setq smtps-real-answers (list (smtps-real-property :password)))
      (smtps-session-lead-test-press "C-c C-a RET")
      (smtps-session-lead-test-until "^- Logged in by "))))

(ert-deftest smtps-session-lead-test-the-user-is-in-auth-source ()
  "Where the account has none, the only entry for the server has it."
  (smtps-session-lead-test-with :port
    (setf (plist-get (cdar smtps-accounts) :user) nil)
    (cl-letf (((symbol-function 'read-string) #'smtps-real-answer))
      (smtps-session-lead-test-press "C-c C-a")
      (smtps-session-lead-test-until "^- Logged in by "))
    (smtps-real-until (equal smtps-session-user (smtps-real-property :user)))))

(ert-deftest smtps-session-lead-test-a-mechanism-by-choice ()
  (smtps-session-lead-test-with :port
    (should-error (let ((current-prefix-arg '(4)))
                    (call-interactively #'smtps-session-log-in))
                  :type 'user-error)
    (smtps-session-lead-test-press "C-c C-e")
    (smtps-session-lead-test-until "^- localhost offers")
    (push "CRAM-MD5" smtps-real-answers)
    (smtps-session-lead-test-press "C-u C-c C-a")
    (smtps-session-lead-test-until "^- Logged in by CRAM-MD5")
    (should (member "AUTH CRAM-MD5" (smtps-session-lead-test-sent)))))

(ert-deftest smtps-session-lead-test-ask-about-a-recipient-and-reset ()
  (smtps-session-lead-test-with :port
    (smtps-session-lead-test-press "C-c C-a")
    (smtps-session-lead-test-until "^- Logged in by ")
    (setf (plist-get (cdar smtps-accounts) :from) '("mine@poste.it"))
    (pcase-dolist (`(,typed ,meant)
                   '(("d@e.f" "d@e.f") (" <g@e.f> " "g@e.f") ("Marco <h@e.f>" "h@e.f")
                     ("\"a b\"@e.f" "\"a b\"@e.f")))
      (execute-kbd-macro (vconcat (kbd "C-c C-v") typed (kbd "RET")))
      (smtps-session-lead-test-until
       (format "^- localhost would take %s: “250 .*”\\. No mail was sent\\.$"
               (regexp-quote meant)))
      (should (equal (last (smtps-session-lead-test-sent) 3)
                     (list "MAIL FROM:<mine@poste.it>" (format "RCPT TO:<%s>" meant) "RSET"))))
    (let ((sent (smtps-session-lead-test-sent)))
      (should-error (smtps-session-verify "") :type 'user-error)
      (smtps-session-verify "one two@e.f")
      (smtps-session-lead-test-until "^! “one two@e.f” is not a mail address")
      (should (equal (smtps-session-lead-test-sent) sent)))
    (smtps-session-lead-test-press "C-c C-r")
    (smtps-real-until (equal (last (smtps-session-lead-test-sent) 2) '("RSET" "RSET")))
    (smtps-real-until (and (zerop smtps-session--owed) (eq smtps-session-state 'ready)))
    ;; What is under way is not lost.
    (insert "mail from:<a@b.c>")
    (smtps-session-lead-test-press "RET")
    (smtps-session-lead-test-until "a@b.c>\nrecv> 250")
    (smtps-session-verify "d@e.f")
    (smtps-session-lead-test-until "^! A transaction is under way")))

(ert-deftest smtps-session-lead-test-refused-before-anything-is-asked ()
  (pcase-dolist (`(,state ,offers ,data ,refused)
                 '((data nil t ("C-c C-v" "C-c C-a" "C-u C-c C-a" "C-c C-t" "C-u C-c C-t"))
                   (ready ("SIZE 9" "PIPELINING") nil
                          ("C-c C-a" "C-u C-c C-a" "C-c C-f" "C-u C-c C-f"))
                   (mail ("AUTH PLAIN") nil ("C-c C-f"))))
    (smtps-session-test-with
      (switch-to-buffer (current-buffer))
      (smtps-session-test-event 'offers :offers offers)
      (smtps-session-test-state state nil 0 data)
      (let* ((asked nil)
             (ask (lambda (&rest _) (setq asked t) (error "Asked"))))
        (cl-letf (((symbol-function 'read-file-name) ask)
                  ((symbol-function 'read-buffer) ask)
                  ((symbol-function 'read-string) ask)
                  ((symbol-function 'completing-read) ask))
          (dolist (keys refused)
            (should-error (smtps-session-lead-test-press keys) :type 'user-error)
            (should-not asked)))))))

(ert-deftest smtps-session-lead-test-where-the-mail-is ()
  "What is asked for is told once, and no answer is not taken for a buffer."
  (let* (prompts
         (minibuffer-setup-hook (list (lambda ()
                                        (push (minibuffer-prompt) prompts)))))
    (cl-flet ((answer (&rest keys)
                (execute-kbd-macro (apply #'vconcat keys))))
      (with-temp-buffer
        (smtps-session-mode)
        (use-local-map (make-sparse-keymap))
        (local-set-key (kbd "C-c C-t")
                       (lambda ()
                         (interactive)
                         (smtps-session-lead--read-source "Send the mail in: ")))
        (switch-to-buffer (current-buffer))
        (should-error (answer (kbd "C-c C-t RET")) :type 'user-error)
        (should (equal prompts '("Send the mail in: ")))
        (with-temp-buffer
          (rename-buffer "a draft")
          (message-mode)
          (with-current-buffer (window-buffer)
            (answer (kbd "C-c C-t RET")))
          (should (equal (car prompts) "Send the mail in (default a draft): ")))))))

(defun smtps-session-lead-test-while-it-sends (function)
  "Have a mail sent to a server that no longer answers, and call FUNCTION.
Fail unless the file that it was in is gone soon."
  (let* ((directory (file-name-as-directory (make-temp-file "smtps-test" t)))
         (temporary-file-directory directory)
         (files (lambda () (directory-files directory nil "\\`smtps-message"))))
    (unwind-protect
        (with-temp-buffer
          (insert "From: a@b.c\nTo: d@e.f\nSubject: x\n\nText\n")
          (let ((mail (current-buffer)))
            (with-current-buffer (car (smtps-session-lead-test-buffers))
              (signal-process "smtps-sandbox" 'SIGSTOP)
              (cl-letf (((symbol-function 'read-string)
                         (lambda (_prompt initial &rest _) initial)))
                (smtps-session-send-transaction mail))
              (smtps-session-lead-test-until-sent "MAIL FROM:<a@b.c>")
              (should (funcall files))
              (funcall function)
              (smtps-real-until (null (funcall files))))))
      (signal-process "smtps-sandbox" 'SIGCONT)
      (delete-directory directory t))))

(ert-deftest smtps-session-lead-test-no-file-is-left-behind ()
  "The message's file goes with the session, however that ends."
  (dolist (end (list #'smtps-session-hang-up #'kill-buffer #'smtps-helper-stop
                     (lambda () (run-hooks 'kill-emacs-hook))))
    (smtps-session-lead-test-with :port
      (smtps-session-lead-test-press "C-c C-a")
      (smtps-session-lead-test-until "^- Logged in by ")
      (smtps-session-lead-test-while-it-sends end))))

(ert-deftest smtps-session-lead-test-what-is-half-typed-stays ()
  (smtps-session-lead-test-with :port
    (insert "rset of mine")
    (smtps-session-lead-test-press "C-c C-a")
    (smtps-session-lead-test-until "^- Logged in by ")
    (should (string-suffix-p "\nsend> rset of mine" (smtps-session-lead-test-text)))))

(provide 'smtps-session-lead-test)
;;; smtps-session-lead-test.el ends here
