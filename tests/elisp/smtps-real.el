;;; smtps-real.el --- A world of its own with the helper and a sandbox  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; What tests share that need the real helper and a real server.

;;; Code:

(require 'ert)
(require 'cl-lib)
(require 'auth-source)
(require 'message)
(require 'smtps)
(require 'smtps-accounts-file)
(require 'smtps-send)
(require 'smtps-helper)

(defvar smtps-real-home nil
  "The home directory of the running test.")

(defvar smtps-real-sandbox nil
  "The report of the sandbox of the running test.")

(defvar smtps-real-sandbox-words nil
  "Options that the sandbox of a test is started with.")

(defvar smtps-real-told nil
  "The sentences that were told, last first.")

(defvar smtps-real-answers nil
  "What a person answers to the questions that come, the next first.")

(defvar smtps-real-questions nil
  "The questions that a person was asked, last first.")

(defun smtps-real-package (name)
  "Have Debian's package elpa-NAME, or NAME, on the load path."
  ;; Compiled in elpa, for the Emacs that is Debian's; else in elpa-src.
  (push (or (car (file-expand-wildcards
                  (format "/usr/share/emacs/site-lisp/elpa*/%s-[0-9]*" name)))
            (error "%s is not installed: tests/run does that as root" name))
        load-path))

(defmacro smtps-real-until (condition)
  "Wait, at most 20 seconds, until CONDITION is non-nil; return its value."
  (declare (debug t))
  `(let ((deadline (time-add nil 20)) value)
     (while (not (or (setq value ,condition) (time-less-p deadline nil)))
       (accept-process-output nil 0.05))
     (unless value
       (ert-fail (list ',condition smtps-real-told)))
     value))

(defun smtps-real-ended-p (name)
  "Return non-nil if no process whose name begins with NAME runs."
  (not (cl-find-if (lambda (process)
                     (and (string-prefix-p name (process-name process))
                          (process-live-p process)))
                   (process-list))))

(defun smtps-real-answer (prompt &rest _)
  "Answer PROMPT by the next of `smtps-real-answers'."
  (push prompt smtps-real-questions)
  (unless smtps-real-answers
    (ert-fail (list "Asked" prompt)))
  (let ((answer (pop smtps-real-answers)))
    (if (functionp answer) (funcall answer) (copy-sequence answer))))

(defmacro smtps-real-with (&rest body)
  "Evaluate BODY with a home, the helper and a sandbox that end with it.
A person is there, and answers as `smtps-real-answers' says."
  (declare (indent 0) (debug t))
  `(let* ((smtps-real-home (file-name-as-directory (make-temp-file "smtps-home" t)))
          (process-environment
           (append (list (concat "HOME=" (directory-file-name smtps-real-home))
                         "XDG_CONFIG_HOME" "XDG_DATA_HOME" "XDG_STATE_HOME")
                   process-environment))
          (abbreviated-home-dir nil)
          (default-directory smtps-real-home)
          (smtps-outbox-directory (expand-file-name "outbox" smtps-real-home))
          (auth-sources (list (expand-file-name ".authinfo" smtps-real-home)))
          (smtps-accounts nil)
          (smtps-accounts-file--known nil)
          (smtps-real-told nil)
          (smtps-real-answers nil)
          (smtps-real-questions nil)
          (smtps-send-tell-function
           (lambda (sentence) (push sentence smtps-real-told)))
          (smtps-send--told nil)
          (smtps-send--waiting nil)
          (smtps-send--again nil)
          (smtps-send--sought nil)
          (smtps-send--trouble nil)
          (smtps-send--revived nil)
          (smtps-send--last nil)
          (smtps-credentials--memory nil)
          (smtps-credentials--refused nil)
          (smtps-credentials--wanted nil)
          (smtps-credentials--passphrases nil)
          (smtps-credentials--given nil)
          (smtps-credentials--keys-wanted nil)
          (noninteractive nil)
          (user-full-name "Me")
          (user-mail-address "from-address@poste.it")
          (message-send-mail-function #'smtps-send-it)
          (message-auto-save-directory nil)
          (message-confirm-send nil)
          (message-signature nil)
          (before (buffer-list))
          (smtps-real-sandbox (apply #'smtps-sandbox-start smtps-real-sandbox-words)))
     (auth-source-forget-all-cached)
     (save-window-excursion
       (unwind-protect
           (cl-letf (((symbol-function 'smtps-credentials--can-ask-p) #'always)
                     ((symbol-function 'smtps-trust--can-ask-p) #'always)
                     ((symbol-function 'read-passwd) #'smtps-real-answer)
                     ((symbol-function 'completing-read) #'smtps-real-answer))
             ,@body)
         (dolist (buffer (buffer-list))
           ;; Some kill others that belong to them.
           (unless (or (memq buffer before)
                       (not (buffer-live-p buffer))
                       (string-prefix-p " " (buffer-name buffer)))
             (with-current-buffer buffer
               (set-buffer-modified-p nil)
               (setq buffer-file-name nil)
               (setq-local kill-buffer-query-functions nil))
             (kill-buffer buffer)))
         (smtps-helper-stop)
         (smtps-sandbox-stop)
         (smtps-real-until (and (smtps-real-ended-p "smtps-helper")
                                (smtps-real-ended-p "smtps-sandbox")))
         (auth-source-forget-all-cached)
         (delete-directory smtps-real-home t)))))

(defun smtps-real-property (key)
  "Return the KEY of the sandbox's report."
  (plist-get smtps-real-sandbox key))

(defun smtps-real-account (&rest plist)
  "Have one account, with PLIST before the properties of the sandbox."
  (setq smtps-accounts
        (list (cons "sandbox"
                    (append plist
                            (list :host "localhost"
                                  :port (smtps-real-property :port)
                                  :user (smtps-real-property :user)))))))

(defun smtps-real-client-key ()
  "Make a client's certificate and its key in the home; return their names.
The passphrase of the key is pässphrase."
  (let ((program "
import sys, trustme
from cryptography.hazmat.primitives import serialization as s
made = trustme.CA().issue_cert('client@x.example')
key = s.load_pem_private_key(made.private_key_pem.bytes(), None)
open('cert.pem', 'wb').write(made.cert_chain_pems[0].bytes())
open('key.pem', 'wb').write(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8,
    s.BestAvailableEncryption('pässphrase'.encode())))
"))
    (let ((default-directory smtps-real-home))
      (should (eql 0 (call-process (car (smtps-helper-program)) nil nil nil
                                   "-c" program))))
    (list (expand-file-name "cert.pem" smtps-real-home)
          (expand-file-name "key.pem" smtps-real-home))))

(defun smtps-real-authinfo (&rest lines)
  "Write LINES into ~/.authinfo."
  (let ((coding-system-for-write 'utf-8-unix))
    (write-region (concat (string-join lines "\n") "\n") nil
                  (car auth-sources) nil 'silent))
  (auth-source-forget-all-cached))

(defun smtps-real-own-account ()
  "Have the sandbox as account, and its password in ~/.authinfo."
  (smtps-real-account :ca-file (smtps-real-property :ca-file))
  (smtps-real-authinfo
   (format "machine localhost login %s password %s"
           (smtps-real-property :user) (smtps-real-property :password))))

(defun smtps-real-maildir (folder)
  "Have FOLDER in ~/Mail, a maildir."
  (dolist (part '("cur" "new" "tmp"))
    (make-directory (format "%sMail/%s/%s" smtps-real-home folder part) t)))

(defun smtps-real-mail (folder)
  "Return the messages in FOLDER of ~/Mail, files relative to that."
  (let ((mail (expand-file-name "Mail" smtps-real-home)))
    (mapcar (lambda (file) (file-relative-name file mail))
            (directory-files-recursively (expand-file-name folder mail)
                                         "\\`[^.]"))))

(defun smtps-real-parent ()
  "Have in ~/Mail/inbox a mail that can be answered: parent@other-host.it."
  (smtps-real-write "Mail/inbox/cur/1.parent.host:2,S"
                    "From: A <a@other-host.it>" "To: from-address@poste.it"
                    "Subject: A question" "Message-ID: <parent@other-host.it>"
                    "Date: Mon, 02 Nov 2026 10:00:00 +0000" "" "What?"))

(defun smtps-real-write (name &rest lines)
  "Write LINES into the file NAME below the home."
  (let ((file (expand-file-name name smtps-real-home)))
    (make-directory (file-name-directory file) t)
    (write-region (concat (string-join lines "\n") "\n") nil file nil 'silent)))

(defun smtps-real-run (program &rest arguments)
  "Run PROGRAM with ARGUMENTS; return what it prints."
  (with-temp-buffer
    (should (eql 0 (apply #'call-process program nil t nil arguments)))
    (buffer-string)))

(defun smtps-real-refuse (process text)
  "Be a server that answers TEXT, what PROCESS says, and takes no recipient."
  (dolist (line (split-string text "\r\n" t))
    (process-send-string
     process (pcase (upcase (substring line 0 4))
               ("RCPT" "550 5.1.1 There is nobody of that name\r\n")
               ("DATA" "554 5.5.1 No valid recipients\r\n")
               (_ "250 relay.poste.it\r\n")))))

(defun smtps-real-swallow (process text)
  "Be a server that takes TEXT, what PROCESS says, and never answers the end."
  (dolist (line (split-string text "\r\n" t))
    (pcase (upcase line)
      ("." (process-put process 'ended t))
      ("DATA" (process-send-string process "354 Go on\r\n"))
      ((pred (string-match-p "\\`\\(?:EHLO\\|MAIL\\|RCPT\\|RSET\\|QUIT\\)"))
       (process-send-string process "250 relay.poste.it\r\n")))))

(defmacro smtps-real-swallowing (&rest body)
  "Evaluate BODY with an account whose server never says what it took."
  (declare (indent 0) (debug t))
  `(smtps-real-serving #'smtps-real-swallow ,@body))

(defmacro smtps-real-refusing (&rest body)
  "Evaluate BODY with an account whose server takes no recipient."
  (declare (indent 0) (debug t))
  `(smtps-real-serving #'smtps-real-refuse ,@body))

(defmacro smtps-real-serving (filter &rest body)
  "Evaluate BODY with an account whose server is the process filter FILTER."
  (declare (indent 1) (debug t))
  `(let ((server (make-network-process
                  :name "serving" :server t :host 'local :service t
                  :family 'ipv4 :filter ,filter :noquery t
                  :log (lambda (_server client _text)
                         (process-send-string client "220 relay.poste.it\r\n")))))
     (unwind-protect
         (progn
           (smtps-real-account :port (process-contact server :service)
                               :tls 'none :user nil)
           ,@body)
       (delete-process server))))

(defun smtps-real-send (&optional subject)
  "Send a mail with SUBJECT, from the account's user."
  (message-mail "to-address@other-host.it" (or subject "Interactive attempt"))
  (message-goto-body)
  (insert "Text for interactive attempt.\n")
  (message-send))

(defun smtps-real-state ()
  "Return the list of the states of the mails in the outbox."
  (mapcar (lambda (entry) (plist-get entry :state)) (smtps-outbox-entries)))

(defun smtps-real-told-p (regexp)
  "Return the sentence that was told and matches REGEXP, or nil."
  (cl-find-if (lambda (sentence) (string-match-p regexp sentence))
              smtps-real-told))

(defun smtps-real-file (name)
  "Return the text of the file NAME below the home, or nil if there is none."
  (let ((file (expand-file-name name smtps-real-home)))
    (when (file-exists-p file)
      (with-temp-buffer
        (insert-file-contents file)
        (buffer-string)))))

(provide 'smtps-real)
;;; smtps-real.el ends here
