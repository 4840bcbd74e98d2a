;;; smtps-outbox-test.el --- Mail in files  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'ert)
(require 'cl-lib)
(require 'smtps-outbox)

(defconst smtps-outbox-test-envelope
  '(:account (:name "poste" :host "relay.poste.it" :port 465 :tls implicit
              :user "u" :ca-file nil :mechanisms ("PLAIN")
              :password-command nil)
    :from "from@x.example" :recipients ("to@y.example" "ü@z.example")
    :message-id "<1@x.example>")
  "An envelope as smtps-send.el makes it.")

(defconst smtps-outbox-test-message
  (encode-coding-string "From: from@x.example\n\nText: ü\n" 'utf-8-unix)
  "The octets of a mail.")

(defmacro smtps-outbox-test-with (&rest body)
  "Evaluate BODY with an outbox of its own."
  (declare (indent 0) (debug t))
  `(let* ((root (make-temp-file "smtps-outbox" t))
          (smtps-outbox-directory (expand-file-name "sub/outbox" root)))
     (unwind-protect (progn ,@body)
       (delete-directory root t))))

(defun smtps-outbox-test-put (&optional state)
  "Put the test's mail into the outbox, into STATE; return its id."
  (with-temp-buffer
    (set-buffer-multibyte nil)
    (insert smtps-outbox-test-message)
    (smtps-outbox-put smtps-outbox-test-envelope nil state)))

(defun smtps-outbox-test-file (&rest names)
  "Return the text of the file in the outbox that NAMES lead to, as octets."
  (with-temp-buffer
    (set-buffer-multibyte nil)
    (insert-file-contents-literally
     (apply #'smtps-outbox--directory names))
    (buffer-string)))

(defun smtps-outbox-test-tree ()
  "Return the names of all that is in the outbox, but the directories' own."
  (mapcar (lambda (file)
            (file-relative-name file smtps-outbox-directory))
          (directory-files-recursively smtps-outbox-directory "." nil)))

(defun smtps-outbox-test-add (text &rest names)
  "Append TEXT to the file in the outbox that NAMES lead to."
  (let ((coding-system-for-write 'utf-8-unix))
    (write-region text nil (apply #'smtps-outbox--directory names) t 'silent)))

(ert-deftest smtps-outbox-test-entry-as-agreed ()
  "The files are those that the helper reads, line for line."
  (smtps-outbox-test-with
    (let* ((before (time-convert nil 'integer))
           (id (smtps-outbox-test-put))
           (lines (split-string
                   (decode-coding-string
                    (smtps-outbox-test-file "queue" id "envelope.sexp")
                    'utf-8-unix)
                   "\n"))
           (head (smtps-wire-read (car lines))))
      (should (string-match-p
               "\\`[0-9]\\{8\\}T[0-9]\\{6\\}-[a-z0-9]\\{10\\}\\'" id))
      (should (equal (smtps-outbox-test-file "queue" id "message.eml")
                     smtps-outbox-test-message))
      (should (eq (car head) 'envelope))
      (should (equal (plist-get (cdr head) :size)
                     (length smtps-outbox-test-message)))
      (should (equal (smtps-outbox-test-file "queue" id "journal.sexp") ""))
      (should (<= before (plist-get (cdr head) :created) (1+ (float-time))))
      (should (equal (plist-get (cdr head) :id) id))
      (should (equal (cdr lines)
                     '("(account :name \"poste\" :host \"relay.poste.it\" \
:port 465 :tls implicit :user \"u\" :ca-file nil :mechanisms (\"PLAIN\") \
:password-command nil)"
                       "(mail \"from@x.example\")"
                       "(rcpt \"to@y.example\")" "(rcpt \"ü@z.example\")"
                       "(end)" ""))))))

(ert-deftest smtps-outbox-test-what-is-rare-is-kept-too ()
  (smtps-outbox-test-with
    (let* ((more '(:client-certificate "/c.pem" :client-key "/k.pem" :send-in-clear t))
           (smtps-outbox-test-envelope
            `(:account (,@(plist-get smtps-outbox-test-envelope :account) ,@more)
                       ,@(cddr smtps-outbox-test-envelope)))
           (account (plist-get (smtps-outbox-find (smtps-outbox-test-put)) :account)))
      (cl-loop for (key value) on more by #'cddr
               do (should (equal (plist-get account key) value))))))

(ert-deftest smtps-outbox-test-nobody-else-can-read ()
  (smtps-outbox-test-with
    (with-file-modes #o777
      (let ((id (smtps-outbox-test-put)))
        (dolist (names `(() ("tmp") ("queue") ("held") ("active") ("sent")
                         ("failed") ("log") ("queue" ,id)))
          (should (eql (file-modes (apply #'smtps-outbox--directory names))
                       #o700)))
        (dolist (name '("message.eml" "envelope.sexp"))
          (should (eql (file-modes (smtps-outbox--directory "queue" id name))
                       #o600)))))))

(ert-deftest smtps-outbox-test-closes-what-was-open ()
  (smtps-outbox-test-with
    (make-directory (smtps-outbox--directory "queue") t)
    (set-file-modes (smtps-outbox--directory "queue") #o755)
    (smtps-outbox-test-put)
    (should (eql (file-modes (smtps-outbox--directory "queue")) #o700))))

(ert-deftest smtps-outbox-test-flushed-in-batch-too ()
  "Emacs inhibits flushing in batch; each file is flushed nevertheless."
  (smtps-outbox-test-with
    (let ((write-region-inhibit-fsync t)
          (seen nil)
          (real (symbol-function 'write-region)))
      (cl-letf (((symbol-function 'write-region)
                 (lambda (&rest arguments)
                   (push (list (file-name-nondirectory (nth 2 arguments))
                               write-region-inhibit-fsync)
                         seen)
                   (apply real arguments))))
        (smtps-outbox-test-put))
      ;; And the envelope last: it makes the entry whole.
      (should (equal (reverse seen)
                     '(("message.eml" nil)
                       ;; Of this there is nothing to flush but its name.
                       ("journal.sexp" t)
                       ("envelope.sexp" nil)))))))

(ert-deftest smtps-outbox-test-user-settings-change-nothing ()
  (smtps-outbox-test-with
    (let ((write-region-annotate-functions
           (list (lambda (&rest _) (list (cons (point-min) "spoilt")))))
          (coding-system-for-write 'utf-16)
          (buffer-file-coding-system 'utf-16)
          (file-name-handler-alist
           (cons '("\\.eml\\'" . error) file-name-handler-alist))
          (print-length 2) (print-level 2) (print-escape-nonascii t))
      (should (equal (plist-get (smtps-outbox-find (smtps-outbox-test-put))
                                :recipients)
                     '("to@y.example" "ü@z.example"))))
    (should (equal (smtps-outbox-test-file
                    "queue" (plist-get (car (smtps-outbox-entries)) :id)
                    "message.eml")
                   smtps-outbox-test-message))))

(ert-deftest smtps-outbox-test-every-step-may-fail ()
  "Whichever step fails: an error with the reason, and nothing is left."
  (dolist (step '(make-directory write-region rename-file
                                 make-empty-file smtps-wire-print))
    (dolist (nth '(1 2 3))
      (smtps-outbox-test-with
        (smtps-outbox-ready)
        (let* ((count 0)
               (real (symbol-function step))
               (failed nil)
               (id nil)
               (problem
                (cl-letf (((symbol-function step)
                           (lambda (&rest arguments)
                             (if (eql (cl-incf count) nth)
                                 (progn
                                   (setq failed t)
                                   (signal 'file-error
                                           '("Writing" "No space left on device"
                                             "/x")))
                               (apply real arguments)))))
                  (condition-case problem
                      (progn (setq id (smtps-outbox-test-put)) nil)
                    (smtps-outbox-error (cadr problem))))))
          (if (not failed)
              (should id)
            (should (string-match-p "no space left on device" problem))
            (should (string-match-p "Nothing was sent" problem))
            (should-not (smtps-outbox-test-tree))
            (should-not (directory-files (smtps-outbox--directory "tmp") nil
                                         "[a-z]"))))))))

(ert-deftest smtps-outbox-test-a-quit-before-the-rename ()
  (smtps-outbox-test-with
    (let ((real (symbol-function 'smtps-outbox--write-forms))
          (quitted nil))
      (cl-letf (((symbol-function 'smtps-outbox--write-forms)
                 (lambda (&rest arguments)
                   (apply real arguments)
                   (setq quit-flag t))))
        (condition-case nil (smtps-outbox-test-put) (quit (setq quitted t))))
      (should quitted)
      (should-not quit-flag)
      (should-not (smtps-outbox-test-tree)))))

(ert-deftest smtps-outbox-test-a-quit-after-the-rename ()
  "It comes too late: the mail is kept, and its id returned."
  (smtps-outbox-test-with
    (cl-letf (((symbol-function 'smtps-outbox--sync)
               (lambda (&rest _) (setq quit-flag t))))
      (let* ((inhibit-quit t)
             (id (smtps-outbox-test-put)))
        (setq quit-flag nil)
        (should (equal (smtps-outbox-states-of id) '(queue)))))))

(ert-deftest smtps-outbox-test-no-sync-program ()
  (smtps-outbox-test-with
    (let ((exec-path nil))
      (should (smtps-outbox-find (smtps-outbox-test-put))))))

(ert-deftest smtps-outbox-test-unwritable ()
  ;; A place where not even root can make a directory.
  (let ((smtps-outbox-directory "/proc/self/smtps/outbox"))
    (should (string-match-p
             "can.t be used: .+Nothing was sent or kept"
             (cadr (should-error (smtps-outbox-test-put)
                                 :type 'smtps-outbox-error))))))

(ert-deftest smtps-outbox-test-a-file-in-its-place ()
  (smtps-outbox-test-with
    (make-directory (file-name-directory smtps-outbox-directory) t)
    (write-region "" nil smtps-outbox-directory nil 'silent)
    (let ((sentence (cadr (should-error (smtps-outbox-test-put)
                                        :type 'smtps-outbox-error))))
      (should (string-match-p "can.t be used: file exists" sentence))
      (should (string-match-p "smtps-outbox-directory" sentence)))))

(ert-deftest smtps-outbox-test-another-device ()
  (smtps-outbox-test-with
    (cl-letf (((symbol-function 'smtps-outbox--device)
               (lambda (file) (if (string-suffix-p "queue" file) 2 1))))
      (should (string-match-p
               "another device"
               (cadr (should-error (smtps-outbox-test-put)
                                   :type 'smtps-outbox-error)))))))

(ert-deftest smtps-outbox-test-another-machine ()
  (let ((smtps-outbox-directory "/ssh:nowhere.example:/outbox"))
    (should-error (smtps-outbox-test-put) :type 'smtps-outbox-error)))

(ert-deftest smtps-outbox-test-listing ()
  (smtps-outbox-test-with
    (should-not (smtps-outbox-entries))
    (let ((first (smtps-outbox-test-put))
          (second (smtps-outbox-test-put 'held)))
      (should (equal (sort (list first second) #'string<)
                     (mapcar (lambda (entry) (plist-get entry :id))
                             (smtps-outbox-entries))))
      (should (equal (plist-get (car (smtps-outbox-entries '(held))) :id)
                     second))
      (let ((entry (smtps-outbox-find first)))
        (should (eq (plist-get entry :state) 'queue))
        (should (equal (plist-get entry :from) "from@x.example"))
        (should (equal (plist-get (plist-get entry :account) :host)
                       "relay.poste.it"))
        (should (eql (plist-get entry :attempts) 0))
        (should-not (plist-get entry :damaged))))))

(ert-deftest smtps-outbox-test-journal ()
  (smtps-outbox-test-with
    (let ((id (smtps-outbox-test-put)))
      (smtps-outbox-test-add
       "(attempt :number 1 :time 1)\n(outcome :attempt 1 :verdict deferred \
:text \"Later\" :next 5)\n(attempt :number 2 :time 9)\n(outcome :attempt 2 \
:verdict accepted :text \"Taken\"" "queue" id "journal.sexp")
      ;; What has no end of line was never written.
      (let ((entry (smtps-outbox-find id)))
        (should (eql (plist-get entry :attempts) 2))
        (should (equal (plist-get (plist-get entry :outcome) :text) "Later")))
      (smtps-outbox-test-add ")\n" "queue" id "journal.sexp")
      (should (equal (plist-get (plist-get (smtps-outbox-find id) :outcome)
                                :text)
                     "Taken")))))

(ert-deftest smtps-outbox-test-a-long-journal ()
  "Of a journal that grew too long, the end is read."
  (smtps-outbox-test-with
    (let ((id (smtps-outbox-test-put))
          (smtps-outbox--journal-limit 100))
      (smtps-outbox-test-add (make-string 5000 ?x) "queue" id "journal.sexp")
      (smtps-outbox-test-add "\n(outcome :attempt 7 :verdict accepted)\n"
                             "queue" id "journal.sexp")
      (should (eq (plist-get (plist-get (smtps-outbox-find id) :outcome)
                             :verdict)
                  'accepted)))))

(ert-deftest smtps-outbox-test-damage ()
  "What can't be read is shown as damaged, whatever is in the file."
  (dolist (spoil (list "" "(end)\n" "(((((((((((((((((((((((\n" "\n" "x\n"
                       (concat (make-string 50000 ?\() "\n")
                       "(envelope :version 1)\n(end)\n"
                       "#1=(envelope . #1#)\n" "(envelope :id)\n(end)\n"
                       "(envelope :version 1 :id \"%s\" :created 1 :size 3)\n\
(account :host \"h\")\n(mail \"a\")\n(rcpt 7)\n(end)\n"))
    (smtps-outbox-test-with
      (let* ((id (smtps-outbox-test-put))
             (file (smtps-outbox--directory "queue" id "envelope.sexp")))
        (delete-file file)
        (smtps-outbox-test-add (string-replace "%s" id spoil)
                               "queue" id "envelope.sexp")
        (let ((entry (car (smtps-outbox-entries))))
          (should (equal (plist-get entry :id) id))
          (should (stringp (plist-get entry :damaged))))))))

(ert-deftest smtps-outbox-test-damaged-journal ()
  (smtps-outbox-test-with
    (let ((id (smtps-outbox-test-put)))
      (smtps-outbox-test-add "(attempt :number 1\n(outcome)\n"
                             "queue" id "journal.sexp")
      (should (string-match-p "journal"
                              (plist-get (smtps-outbox-find id) :damaged))))))

(ert-deftest smtps-outbox-test-truncated-envelope ()
  "Every beginning of an envelope is damaged; only the whole is one."
  (smtps-outbox-test-with
    (let* ((id (smtps-outbox-test-put))
           (file (smtps-outbox--directory "queue" id "envelope.sexp"))
           (text (smtps-outbox-test-file "queue" id "envelope.sexp")))
      (dotimes (length (length text))
        (let ((coding-system-for-write 'no-conversion))
          (write-region (substring text 0 length) nil file nil 'silent))
        (should (plist-get (smtps-outbox-find id) :damaged))))))

(ert-deftest smtps-outbox-test-two-states ()
  (smtps-outbox-test-with
    (let ((id (smtps-outbox-test-put)))
      (copy-directory (smtps-outbox--directory "queue" id)
                      (smtps-outbox--directory "sent" id))
      (should (equal (length (smtps-outbox-entries)) 1))
      (should (string-match-p "two states"
                              (plist-get (smtps-outbox-find id) :damaged))))))

(ert-deftest smtps-outbox-test-left-in-tmp ()
  "A whole entry in tmp/ is listed once its writer must be gone."
  (smtps-outbox-test-with
    (let* ((id (smtps-outbox-test-put)))
      (rename-file (smtps-outbox--directory "queue" id)
                   (smtps-outbox--directory "tmp" id))
      (should-not (smtps-outbox-entries))
      (let ((smtps-outbox--writing-time -1))
        (should (eq (plist-get (car (smtps-outbox-entries)) :state) 'tmp))
        (delete-file (smtps-outbox--directory "tmp" id "envelope.sexp"))
        (should-not (smtps-outbox-entries))))))

(ert-deftest smtps-outbox-test-move ()
  (smtps-outbox-test-with
    (let ((id (smtps-outbox-test-put 'held)))
      (should (smtps-outbox-move id 'held 'queue))
      (should (equal (smtps-outbox-states-of id) '(queue)))
      ;; Somebody else was first.
      (should-not (smtps-outbox-move id 'held 'queue))
      (should-error (smtps-outbox-move id 'queue 'sent)))))

(ert-deftest smtps-outbox-test-discard ()
  "What no process takes up by itself is deleted without one; nothing else is."
  (smtps-outbox-test-with
    (let ((id (smtps-outbox-test-put)))
      (should-not (smtps-outbox-discard id))
      (should (equal (smtps-outbox-states-of id) '(queue)))
      (should (smtps-outbox-move id 'queue 'held))
      (should (smtps-outbox-discard id))
      (should-not (smtps-outbox-entries))
      (should-not (smtps-outbox--names "tmp"))
      ;; It is gone already.
      (should (smtps-outbox-discard id)))))

(provide 'smtps-outbox-test)
;;; smtps-outbox-test.el ends here
